/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "bench/case.h"
#include "bench/gemm_shapes.h"
#include "bench/plan.h"
#include "kernels/kernel.h"

typedef struct glob_case {
    char glob[32], id[48];
    int matches;
} glob_case;

static glob_case globs[] = {
    {"*", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/*", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/*/m1-*", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"*k1", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"*k2", "kernel/gemm_f32/avx2/m1-n1-k1", 0},
    {"*a*a*", "kernel/gemm_f32/avx2/m1-n1-k1", 0},
    {"*m*m*m1*", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/gemm_f32", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/gemm", "kernel/gemm_f32/avx2/m1-n1-k1", 0},
    {"kernel/gemm_f32/avx2/m1-n1-k1", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"kernel/gemm_f32/avx?/m1-n1-k1", "kernel/gemm_f32/avx2/m1-n1-k1", 1},
    {"?", "kernel", 0},
    {"", "kernel", 0},
};

ParameterizedTestParameters(case_list, glob) {
    return cr_make_param_array(glob_case, globs, sizeof globs / sizeof globs[0]);
}

ParameterizedTest(glob_case *c, case_list, glob) {
    cr_assert_eq(td_case_matches(c->glob, c->id), c->matches != 0, "\"%s\" on \"%s\"", c->glob,
                 c->id);
}

static void select_kernels(void) {
    td_isa isa;
    cr_assert_eq(td_isa_active(&isa), TD_OK);
    cr_assert_eq(td_kernels_select(isa), TD_OK, "%s", td_error());
}

Test(case_list, ids_are_unique_and_every_kernel_row_has_a_case, .init = select_kernels) {
    td_case_list list;
    cr_assert_eq(td_case_list_all(&list), TD_OK, "%s", td_error());
    for (int64_t i = 0; i < list.count; i++) {
        cr_assert_lt(strlen(list.at[i].id), (size_t)TD_CASE_ID - 1, "%s is cut", list.at[i].id);
        for (int64_t j = 0; j < i; j++) {
            cr_assert(strcmp(list.at[i].id, list.at[j].id) != 0 ||
                          strcmp(list.at[i].provider, list.at[j].provider) != 0,
                      "%s is listed twice", list.at[i].id);
        }
    }
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (int k = 0; k < count; k++) {
        char glob[TD_CASE_ID];
        snprintf(glob, sizeof glob, "kernel/%s/%s", td_ops[rows[k].op].name, rows[k].name);
        int found = 0, quick = 0;
        for (int64_t i = 0; i < list.count; i++) {
            found += td_case_matches(glob, list.at[i].id);
            quick += td_case_matches(glob, list.at[i].id) && list.at[i].quick;
        }
        cr_assert_gt(found, 0, "%s has no case", glob);
        cr_assert(quick > 0 || td_kernel_selected(rows[k].op) != &rows[k],
                  "%s is in use and not in the quick suite", glob);
    }
    td_case_list_destroy(&list);
}

/* Every linear layer of the five configurations, forward, both gradients, once. */
Test(case_list, products_follow_from_the_models) {
    static const char *const some[] = {
        "vit-s-32-alt.v.qkv.fwd-m3200-n1152-k384",      "vit-s-32-alt.t.fc2.dx-m4928-n1024-k256",
        "vit-b-32.v.fc1.dw-m3072-n768-k1600",           "vit-b-32.t.proj.fwd-m32-n512-k512",
        "vit-b-32.v.patch.dw-m768-n3072-k1568",         "vit-b-16.v.out.fwd-m1576-n768-k768",
        "vit-b-16-siglip.v.map.kv.fwd-m1568-n1536-k768"};
    bool found[sizeof some / sizeof some[0]] = {false};
    td_gemm_shape shape, other;
    int64_t layers = 0;
    for (int64_t i = 0; td_gemm_shape_at(i, &shape); i++) {
        layers += shape.linear;
        cr_assert_lt(strlen(shape.name), sizeof shape.name - 1, "%s is cut", shape.name);
        cr_assert(!strstr(shape.name, "patch.dx"), "the input of a patch needs no gradient");
        int64_t chains = shape.a_trans ? 8 : (shape.k + 383) / 384;
        cr_assert_eq(shape.k_blocks, shape.linear ? chains : 1, "%s", shape.name);
        for (size_t j = 0; j < sizeof some / sizeof some[0]; j++) {
            found[j] = found[j] || strcmp(shape.name, some[j]) == 0;
        }
        for (int64_t j = 0; j < i && td_gemm_shape_at(j, &other); j++) {
            cr_assert(shape.m != other.m || shape.n != other.n || shape.k != other.k ||
                          shape.a_trans != other.a_trans || shape.b_trans != other.b_trans,
                      "%s and %s are the same", shape.name, other.name);
        }
    }
    for (size_t j = 0; j < sizeof some / sizeof some[0]; j++) {
        cr_assert(found[j], "%s is missing", some[j]);
    }
    cr_assert_gt(layers, 100);
    cr_assert(!td_gemm_shape_at(-1, &shape));
}

/* Forward, its input's gradient and the weight's of four layers of two towers. */
Test(case_list, blocks_of_the_models_have_all_their_products) {
    int model = 0;
    for (; td_gemm_block_model(model) != NULL; model++) {
        td_gemm_shape shape;
        int64_t n = 0, gradients = 0;
        for (; td_gemm_block_shape_at(model, n, &shape); n++) {
            gradients += shape.a_trans;
            cr_assert(strstr(shape.name, td_gemm_block_model(model)) == shape.name);
        }
        cr_expect_eq(n, 24);
        cr_expect_eq(gradients, 8);
    }
    cr_expect_eq(model, 5);
}

Test(plan, suites_patterns_and_layouts, .init = select_kernels) {
    td_topology *topology;
    td_run_plan quick, full, one;
    cr_assert_eq(td_topology_create("core:2 pu:1", &topology), TD_OK);
    cr_assert_eq(td_run_plan_create(NULL, NULL, NULL, topology, &quick), TD_OK, "%s", td_error());
    cr_assert_eq(td_run_plan_create(NULL, "full", NULL, topology, &full), TD_OK, "%s", td_error());
    cr_assert_gt(quick.n_items, 50);
    cr_assert_gt(full.n_items, quick.n_items);
    for (int64_t i = 0; i < quick.n_items; i++) {
        cr_assert(quick.items[i].subject->quick);
    }
    /* A pattern without wildcards means that very case, in the quick suite or not. */
    const td_case *slow = NULL;
    for (int64_t i = 0; i < full.n_items && !slow; i++) {
        slow = full.items[i].subject->quick ? NULL : full.items[i].subject;
    }
    cr_assert_not_null(slow);
    cr_assert_eq(td_run_plan_create(slow->id, NULL, NULL, topology, &one), TD_OK, "%s", td_error());
    cr_assert_geq(one.n_items, 1);
    cr_assert_str_eq(one.items[0].subject->id, slow->id);
    td_run_plan_destroy(&one);
    cr_assert_eq(td_run_plan_create("threads/*", NULL, "p2xt1:thread", topology, &one), TD_OK);
    for (int64_t i = 0; i < one.n_items; i++) {
        cr_assert_eq(one.items[i].layout.ranks, 2);
        cr_assert(strstr(one.items[i].name, "/p2xt1:thread"), "%s", one.items[i].name);
    }
    /* The same layout spelled twice is one. */
    int64_t alone = one.n_items;
    td_run_plan_destroy(&one);
    cr_assert_eq(td_run_plan_create("threads/*", NULL, "p1xt1,p2xt1:process,p2xt1", topology, &one),
                 TD_OK);
    int64_t of_processes = 0;
    for (int64_t i = 0; i < one.n_items; i++) {
        of_processes += one.items[i].layout.ranks == 2;
    }
    cr_assert_eq(of_processes, alone, "%d, %d by threads", (int)of_processes, (int)alone);
    td_run_plan_destroy(&one);
    cr_assert_eq(td_run_plan_create("nothing/*", NULL, NULL, topology, &one), TD_EUSAGE);
    cr_assert_eq(td_run_plan_create(NULL, NULL, "p9xt9", topology, &one), TD_EUSAGE);
    cr_assert_eq(td_run_plan_create(NULL, NULL, "p1xt1,,p1xt2", topology, &one), TD_EUSAGE);
    td_run_plan_destroy(&full);
    td_run_plan_destroy(&quick);
    td_topology_destroy(topology);
}

Test(plan, default_layouts_follow_the_machine) {
    static const struct {
        const char *machine, *layouts;
    } table[] = {{"core:1 pu:1", "p1xt1"},
                 {"core:2 pu:1", "p1xt1,p1xt2,p2xt1:thread,p2xt1:process"},
                 {"core:4 pu:2", "p1xt1,p1xt4,p4xt1:thread,p4xt1:process"},
                 {"pack:2 core:48 pu:2", "p1xt1,p1xt96,p64xt1:thread,p64xt1:process"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        td_topology *topology;
        char text[256];
        cr_assert_eq(td_topology_create(table[i].machine, &topology), TD_OK);
        td_default_layouts(topology, text, sizeof text);
        cr_assert_str_eq(text, table[i].layouts);
        td_topology_destroy(topology);
    }
}
