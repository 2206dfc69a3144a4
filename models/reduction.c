/* SPDX-License-Identifier: Apache-2.0 */
#include "models/reduction.h"

#include <stdio.h>

#include "base/memory.h"
#include "collectives/overlap.h"

/* 4 MiB: the sum of a bucket takes some hundred times what its two meetings would, and the first
 * starts early. */
enum { BUCKET = 1 << 20, TOWERS = 2 };

typedef struct bucket {
    int ready; /* phase in which its gradients are final */
    int64_t first, last;
} bucket;

struct td_reduction {
    td_overlap *overlap;
    td_status status;
    int n;
    bucket buckets[TD_OVERLAP_PIECES];
};

static td_status begin(void *arg, td_worker *worker) {
    td_reduction *r = arg;
    return td_overlap_begin(r->overlap, worker);
}

static void offer(void *arg) {
    td_reduction *r = arg;
    td_overlap_offer(r->overlap);
}

static td_status progress(void *arg, td_worker *worker) {
    td_reduction *r = arg;
    return td_overlap_progress(r->overlap, worker);
}

static td_status finish(void *arg, td_worker *worker) {
    td_reduction *r = arg;
    return td_overlap_finish(r->overlap, worker);
}

static void add_bucket(td_reduction *r, const td_reduction_place *at, int ready, int64_t first,
                       int64_t last) {
    if (first < last) {
        TD_ASSERT(r->n < TD_OVERLAP_PIECES);
        r->buckets[r->n++] = (bucket){ready, first - at->grads_first, last - at->grads_first};
    }
}

/* The blocks of a tower, the last one first, as many to a bucket as make it large enough; then what
 * lies before and behind them, which is ready at the end. */
static void add_tower(td_reduction *r, const td_reduction_place *at, bool image, int64_t first,
                      int64_t last, int end) {
    const td_tensors *tensors = at->tensors;
    td_role role = image ? TD_ROLE_v_ln1_w : TD_ROLE_t_ln1_w;
    int64_t layers = image ? at->config->vision.layers : at->config->text.layers;
    int64_t block = layers > 1 ? td_tensors_at(tensors, role, 1)->offset -
                                     td_tensors_at(tensors, role, 0)->offset
                               : last;
    int64_t start = td_tensors_at(tensors, role, 0)->offset, stop = start + layers * block;
    int64_t most = TD_OVERLAP_PIECES / TOWERS - 2; /* and two pieces beside them */
    int64_t group = (BUCKET + block - 1) / block;
    group = group * most < layers ? (layers + most - 1) / most : group;
    if (layers < 2) {
        start = stop = first;
    }
    for (int64_t top = layers; start < stop && top > 0; top -= group) {
        int64_t bottom = top > group ? top - group : 0;
        int ready = 0;
        for (int64_t i = bottom; i < top; i++) {
            char prefix[16];
            snprintf(prefix, sizeof prefix, "%c.%d.", image ? 'v' : 't', (int)i);
            int after =
                td_program_end_of(at->program, image ? "image_backward" : "text_backward", prefix);
            ready = after > ready ? after : ready;
        }
        add_bucket(r, at, ready, start + bottom * block, start + top * block);
    }
    add_bucket(r, at, end, first, start);
    add_bucket(r, at, end, stop, last);
}

/* Equal ones stay as they were added, so that the order is the same in all ranks. */
static void sort_buckets(td_reduction *r) {
    for (int i = 1; i < r->n; i++) {
        bucket moved = r->buckets[i];
        int j = i;
        for (; j > 0 && r->buckets[j - 1].ready > moved.ready; j--) {
            r->buckets[j] = r->buckets[j - 1];
        }
        r->buckets[j] = moved;
    }
}

static td_status create_overlap(td_reduction *r, const td_reduction_place *at) {
    int64_t pieces[TD_OVERLAP_PIECES][2];
    for (int i = 0; i < r->n; i++) {
        pieces[i][0] = r->buckets[i].first;
        pieces[i][1] = r->buckets[i].last;
    }
    return td_overlap_create(at->comm, at->grads, at->tensors->scalars - at->grads_first, pieces,
                             r->n, &r->overlap);
}

static void add_ops(td_reduction *r, const td_reduction_place *at, int phase) {
    td_program_part(at->program, "communication");
    td_program_each(at->program, at->first_phase, begin, r, "collective", "grads.begin");
    for (int i = 0; i < r->n; i++) {
        int ready = r->buckets[i].ready;
        bool more = i + 1 < r->n && r->buckets[i + 1].ready == ready;
        td_program_call(at->program, ready, offer, r, "grads.offer");
        /* A phase later, when the other ranks have likely got there too, and another one. */
        for (int later = 1; later <= 2 && ready + later < phase && !more; later++) {
            td_program_each(at->program, ready + later, progress, r, "collective",
                            "grads.overlapped");
        }
    }
    td_program_each(at->program, phase, finish, r, "collective", "grads.rest");
}

int td_reduction_build(const td_reduction_place *at, int phase, td_reduction **out) {
    td_reduction *r = *out == NULL ? td_alloc_zero(sizeof *r) : *out;
    if (r == NULL) {
        return phase + 1; /* td_reduction_status tells */
    }
    *out = r;
    int64_t middle = td_tensors_image_end(at->tensors);
    r->n = 0;
    if (at->image) {
        add_tower(r, at, true, at->grads_first, middle, phase);
    }
    add_tower(r, at, false, middle, at->tensors->scalars, phase);
    sort_buckets(r);
    if (at->comm != NULL && r->overlap == NULL) {
        r->status = create_overlap(r, at);
    }
    add_ops(r, at, phase);
    return phase + 1;
}

td_status td_reduction_status(const td_reduction *r) {
    return r == NULL ? td_fail(TD_ENOMEM, "the reduction of gradients") : r->status;
}

void td_reduction_destroy(td_reduction *r) {
    if (r != NULL) {
        td_overlap_destroy(r->overlap);
        td_free(r);
    }
}

double td_reduction_early(const td_reduction *r) {
    int64_t early = 0, all = 0;
    if (r->overlap != NULL) {
        td_overlap_elements(r->overlap, &early, &all);
    }
    return all > 0 ? (double)early / (double)all : 0;
}
