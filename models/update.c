/* SPDX-License-Identifier: Apache-2.0 */
#include "models/update.h"

#include <string.h>

static int64_t padded(const td_tensor *tensor) {
    return (tensor->count + TD_TENSOR_ALIGN - 1) / TD_TENSOR_ALIGN * TD_TENSOR_ALIGN;
}

static const td_tensor *tensor_of(const td_update *update, td_role role, int64_t block) {
    return td_tensors_at(update->tensors, role, block);
}

/* Gradients that lie, where they fit, where those of a block's perceptron do, of whose four `host`
 * is the first: one kind has been used up when the next is computed. */
static const struct guests {
    td_role first, last, host;
} GUESTS[] = {{TD_ROLE_v_map_fc1_w, TD_ROLE_v_map_fc2_b, TD_ROLE_v_fc1_w},
              {TD_ROLE_v_map_q_w, TD_ROLE_v_map_out_b, TD_ROLE_v_fc1_w},
              {TD_ROLE_v_qkv_w, TD_ROLE_v_out_b, TD_ROLE_v_fc1_w},
              {TD_ROLE_v_patch_w, TD_ROLE_v_patch_b, TD_ROLE_v_fc1_w},
              {TD_ROLE_t_qkv_w, TD_ROLE_t_out_b, TD_ROLE_t_fc1_w}};
enum { N_GUESTS = sizeof GUESTS / sizeof GUESTS[0], HOSTS = 4 };

/* Of one block's tensors of these roles, as far as the model has them. */
static int64_t floats_of(const td_update *update, int first, int last) {
    int64_t floats = 0;
    for (int role = first; role <= last; role++) {
        floats += td_tensors_has(update->tensors, (td_role)role)
                      ? padded(tensor_of(update, (td_role)role, 0))
                      : 0;
    }
    return floats;
}

static bool is_guest(const td_update *update, const td_tensor *tensor) {
    for (int i = 0; i < N_GUESTS; i++) {
        const struct guests *g = &GUESTS[i];
        if (tensor->role >= g->first && tensor->role <= g->last) {
            return floats_of(update, g->first, g->last) <=
                   floats_of(update, g->host, (int)g->host + HOSTS - 1);
        }
    }
    return false;
}

/* Whether a tensor's gradient has no place of its own. */
static bool shares_place(const td_update *update, const td_tensor *tensor) {
    return update->early &&
           (tensor->block > 0 || tensor->role == TD_ROLE_t_embed || is_guest(update, tensor));
}

int64_t td_update_grad_floats(const td_update *update, int64_t *image) {
    const td_tensors *tensors = update->tensors;
    int64_t all = 0;
    *image = 0;
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        if (tensor->offset >= update->first && !shares_place(update, tensor)) {
            all += padded(tensor);
            *image += td_tensor_of_image(tensor) ? padded(tensor) : 0;
        }
    }
    return all;
}

static void place_guests(td_update *update) {
    const td_tensors *tensors = update->tensors;
    for (int i = 0; i < N_GUESTS; i++) {
        int64_t next = update->at[tensors->first[GUESTS[i].host]];
        for (int role = GUESTS[i].first; role <= (int)GUESTS[i].last; role++) {
            if (td_tensors_has(tensors, (td_role)role)) {
                const td_tensor *tensor = tensor_of(update, (td_role)role, 0);
                if (shares_place(update, tensor)) {
                    update->at[tensor - tensors->tensors] = next;
                    next += padded(tensor);
                }
            }
        }
    }
}

static void place_gradients(td_update *update) {
    const td_tensors *tensors = update->tensors;
    int64_t next = 0;
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        bool shares = shares_place(update, tensor);
        update->at[i] = shares ? 0 : next;
        next += shares || tensor->offset < update->first ? 0 : padded(tensor);
    }
    place_guests(update);
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        if (update->early && tensor->block > 0) {
            update->at[i] = update->at[tensors->first[tensor->role]];
        }
    }
}

/* Relative to the element that an op starts with: the first one of the shard, or early the tensor's
 * own. */
static void place_decayed(td_update *update) {
    const td_tensors *tensors = update->tensors;
    for (int i = 0; update->early && i < tensors->count; i++) {
        update->decayed[i][0] = 0;
        update->decayed[i][1] = tensors->tensors[i].count;
    }
    for (int64_t i = 0; !update->early && i < tensors->n_decayed; i++) {
        update->decayed[i][0] = tensors->decayed[i][0] - update->first - update->shard->first;
        update->decayed[i][1] = tensors->decayed[i][1] - update->first - update->shard->first;
    }
}

void td_update_plan(td_update *update, td_plan *grads, td_plan *moments, td_plan *rest) {
    const td_tensors *tensors = update->tensors;
    int64_t image;
    int64_t ranges = update->early ? tensors->count : tensors->n_decayed;
    update->grads = TD_PLAN_ARRAY(grads, float, td_update_grad_floats(update, &image));
    update->m = TD_PLAN_ARRAY(moments, float, update->shard->most);
    update->v = update->kind == TD_OPTIMIZER_ADAMW
                    ? TD_PLAN_ARRAY(moments, float, update->shard->most)
                    : NULL;
    update->at = TD_PLAN_ARRAY(rest, int64_t, tensors->count);
    update->decayed = td_plan_take(rest, (size_t)ranges * sizeof(*update->decayed));
    if (update->at != NULL) {
        place_gradients(update);
        place_decayed(update);
    }
}

float *td_update_grad(const td_update *update, float *grads, td_role role, int64_t block) {
    if (grads == NULL || update->at == NULL || (update->early && role == TD_ROLE_t_embed)) {
        return NULL;
    }
    return grads + update->at[tensor_of(update, role, block) - update->tensors->tensors];
}

/* Elements [from, to) of the flat buffers, with so many ranges that decay, counted from `from`. */
static int update_range(const td_update *update, td_program *program, int phase, int64_t from,
                        int64_t to, const float *grad, td_compact_rows rows,
                        const int64_t (*decayed)[2], int64_t n_decayed, const char *name) {
    bool planned = update->params != NULL;
    int64_t moment = from - update->first - update->shard->first;
    td_adamw_f32_args adamw = {.n = to - from,
                               .p = planned ? update->params + from : NULL,
                               .m = planned ? update->m + moment : NULL,
                               .v = update->v != NULL ? update->v + moment : NULL,
                               .g = grad,
                               .g_rows = rows,
                               .step = &update->adamw,
                               .ranges = decayed,
                               .n_ranges = n_decayed};
    td_lion_f32_args lion = {.n = adamw.n,
                             .p = adamw.p,
                             .m = adamw.m,
                             .g = grad,
                             .g_rows = rows,
                             .step = &update->lion,
                             .ranges = decayed,
                             .n_ranges = n_decayed};
    bool signs = update->kind == TD_OPTIMIZER_LION;
    const char *part = td_program_part(program, "optimizer");
    phase = td_program_kernel(program, phase, signs ? TD_OP_lion_f32 : TD_OP_adamw_f32,
                              signs ? (const void *)&lion : &adamw, "optimizer", name);
    td_program_part(program, part);
    return phase;
}

void td_update_tensors(const td_update *update, td_program *program, int phase, td_role role,
                       int count, int64_t block, const float *grad, td_compact_rows rows,
                       const char *name) {
    if (update == NULL || !update->early) {
        return;
    }
    const td_tensor *first = tensor_of(update, role, block), *last = first;
    for (int i = 1; i < count; i++) {
        td_role next = (td_role)((int)role + i);
        if (td_tensors_has(update->tensors, next)) {
            const td_tensor *tensor = tensor_of(update, next, block);
            TD_ASSERT(tensor == last + 1 && !tensor->decay);
            last = tensor;
        }
    }
    int64_t index = first - update->tensors->tensors;
    update_range(update, program, phase, first->offset, last->offset + last->count, grad, rows,
                 update->decayed == NULL ? NULL : (const int64_t(*)[2])(update->decayed + index),
                 first->decay ? 1 : 0, name);
}

int td_update_rest(const td_update *update, td_program *program, int phase) {
    const td_tensors *tensors = update->tensors;
    if (update->early) {
        return update_range(update, program, phase, tensors->scalars, tensors->flat,
                            td_update_grad(update, update->grads, TD_ROLE_logit_scale, 0),
                            (td_compact_rows){0}, NULL, 0, "update");
    }
    int64_t from = update->first + update->shard->first;
    return update_range(update, program, phase, from, from + update->shard->n,
                        update->grads == NULL ? NULL : update->grads + update->shard->first,
                        (td_compact_rows){0}, (const int64_t(*)[2])update->decayed,
                        tensors->n_decayed, "update");
}
