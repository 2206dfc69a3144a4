/* SPDX-License-Identifier: Apache-2.0
 * Folders that cannot be verified: each is a golden one with one thing wrong, and the message must
 * say which.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "models/safetensors.h"
#include "models/verify.h"
#include "train_case.h"

static const char *const files[] = {"config.json", "optim.json", "weights.safetensors",
                                    "batch.safetensors", "expected.safetensors"};
enum { N_FILES = sizeof(files) / sizeof(files[0]), MAX_TENSORS = 256 };

typedef enum damage { NO_FILE, SHORT_FILE, DROP, RENAME, RESHAPE, NOT_A_NUMBER, TEXT } damage;

typedef struct bad_folder {
    damage damage;
    char file[24], tensor[48], text[96];
    td_status status;
    char says[80];
} bad_folder;

/* The file's bytes anew, with the tensor dropped, renamed, of another shape or with a NaN. */
static void damage_tensor(const char *path, const bad_folder *c) {
    td_safetensors file;
    td_case_ok(td_safetensors_open(path, &file));
    td_file_tensor tensors[MAX_TENSORS];
    float *copy = NULL;
    int64_t n = 0, hits = 0;
    for (int64_t i = 0; i < file.count; i++) {
        td_file_tensor tensor = file.tensors[i];
        if (strcmp(tensor.name, c->tensor) == 0) {
            hits++;
            if (c->damage == DROP) {
                continue;
            }
            tensor.name = c->damage == RENAME ? c->text : tensor.name;
            if (c->damage == RESHAPE) {
                tensor.n_dims = 1;
                tensor.dims[0] = tensor.count;
            } else if (c->damage == NOT_A_NUMBER) {
                int64_t bytes = tensor.dtype == TD_FILE_F64 ? 8 : 4;
                copy = td_alloc((size_t)(tensor.count * bytes));
                memcpy(copy, tensor.data, (size_t)(tensor.count * bytes));
                memset((char *)copy + (tensor.count - 1) * bytes, 0xFF, (size_t)bytes);
                tensor.data = copy;
            }
        }
        tensors[n++] = tensor;
    }
    cr_assert_eq(hits, 1, "%s has no %s", path, c->tensor);
    char other[160];
    snprintf(other, sizeof(other), "%s.new", path);
    td_case_ok(td_safetensors_write(other, tensors, n, NULL, 0));
    td_safetensors_close(&file);
    td_free(copy);
    cr_assert_eq(rename(other, path), 0);
}

static void make_bad(const char *folder, const bad_folder *c) {
    char from[512], to[128];
    td_case_ok(td_make_directory(folder));
    for (int i = 0; i < N_FILES; i++) {
        bool hit = strcmp(files[i], c->file) == 0;
        char *bytes;
        size_t size;
        snprintf(from, sizeof(from), "%s/siglip-map/%s", TD_GOLDEN, files[i]);
        snprintf(to, sizeof(to), "%s/%s", folder, files[i]);
        td_case_ok(td_file_read(from, &bytes, &size));
        if (hit && c->damage == TEXT) {
            char *found = strstr(bytes, c->tensor);
            cr_assert_not_null(found, "%s has no %s", files[i], c->tensor);
            size_t replaced = strlen(c->tensor), added = strlen(c->text);
            size_t behind = strlen(found + replaced);
            char *changed = td_alloc(size + added + 1);
            size_t before = (size_t)(found - bytes);
            memcpy(changed, bytes, before);
            memcpy(changed + before, c->text, added);
            memcpy(changed + before + added, found + replaced, behind);
            td_case_ok(td_file_write(to, changed, before + added + behind));
            td_free(changed);
        } else if (!hit || c->damage != NO_FILE) {
            td_case_ok(td_file_write(to, bytes, hit && c->damage == SHORT_FILE ? size / 2 : size));
        }
        td_free(bytes);
        if (hit && c->damage >= DROP && c->damage <= NOT_A_NUMBER) {
            damage_tensor(to, c);
        }
    }
}

ParameterizedTestParameters(verify_folder, refusals) {
#define WEIGHTS  "weights.safetensors"
#define BATCH    "batch.safetensors"
#define EXPECTED "expected.safetensors"
    static bad_folder cases[] = {
        {NO_FILE, "config.json", "", "", TD_EIO, "config.json"},
        {NO_FILE, "optim.json", "", "", TD_EIO, "optim.json"},
        {NO_FILE, WEIGHTS, "", "", TD_EIO, WEIGHTS},
        {NO_FILE, BATCH, "", "", TD_EIO, BATCH},
        {NO_FILE, EXPECTED, "", "", TD_EIO, EXPECTED},
        {SHORT_FILE, WEIGHTS, "", "", TD_EINPUT, WEIGHTS},
        {SHORT_FILE, EXPECTED, "", "", TD_EINPUT, EXPECTED},
        {DROP, WEIGHTS, "logit_bias", "", TD_EINPUT, "tensor logit_bias is missing"},
        {RENAME, WEIGHTS, "logit_bias", "logit_bios", TD_EINPUT, "tensor logit_bias is missing"},
        {RESHAPE, WEIGHTS, "text.positional_embedding", "", TD_EINPUT, "expected shape [9, 12]"},
        {NOT_A_NUMBER, WEIGHTS, "visual.trunk.norm.bias", "", TD_EINPUT,
         "visual.trunk.norm.bias: element 11 is"},
        {DROP, BATCH, "tokens", "", TD_EINPUT, "tensor tokens is missing"},
        {DROP, BATCH, "images", "", TD_EINPUT, "images must be"},
        {NOT_A_NUMBER, BATCH, "images", "", TD_EINPUT, "images: element 7199 is"},
        {NOT_A_NUMBER, BATCH, "tokens", "", TD_EINPUT, "sample 5, position 8: token -1"},
        {DROP, EXPECTED, "loss/2", "", TD_EINPUT, "tensor loss/2 is missing"},
        {DROP, EXPECTED, "grad/logit_scale", "", TD_EINPUT, "grad/logit_scale is missing"},
        {NOT_A_NUMBER, EXPECTED, "loss/0", "", TD_EINPUT, "loss/0: element 0 is"},
        {NOT_A_NUMBER, EXPECTED, "weights/logit_bias", "", TD_EINPUT, "weights/logit_bias"},
        {TEXT, "optim.json", "\"siglip\"", "\"clip\"", TD_EINPUT,
         "tensor logit_bias is not one of this model and loss"},
        {TEXT, "optim.json", "\"steps\": 4", "\"steps\": 3", TD_EINPUT, "losses of 3 steps"},
        {TEXT, "optim.json", "\"const\"", "\"step\"", TD_EINPUT, "schedule must be"},
        {TEXT, "optim.json", "\"siglip\"", "\"coca\"", TD_EINPUT, "loss must be"},
        {TEXT, "optim.json", "\"lr\": ", "\"lr\": \"\", \"x\": ", TD_EINPUT, "lr must be a number"},
        {TEXT, "optim.json", "\"batch\": 6", "\"batch\": 4", TD_EINPUT,
         "6 samples; expected a multiple"},
        {TEXT, "optim.json", "\"batch\": 6", "\"batch\": 0", TD_EINPUT, "batch 0; expected 1 to"},
        {TEXT, "optim.json", "\"batch\": 6", "\"batch\": 1.5", TD_EINPUT,
         "batch 1.5; expected 1 to"},
        {TEXT, "optim.json", "{", "", TD_EINPUT, "optim.json: line 2"},
        {TEXT, "config.json", "\"layers\": 1", "\"layers\": 2", TD_EINPUT, "is missing"},
        {TEXT, "config.json", "\"patch_size\": 5", "\"patch_size\": 4", TD_EINPUT,
         "expected shape"},
    };
    return cr_make_param_array(bad_folder, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(bad_folder *c, verify_folder, refusals) {
    char folder[64], path[128];
    td_train_options options;
    snprintf(folder, sizeof(folder), "/tmp/tandem_bad_folder_%d", (int)getpid());
    make_bad(folder, c);
    td_status status = td_verify_options(folder, 0, &options);
    status = status == TD_OK ? td_verify_check(folder, &options) : status;
    cr_expect_eq(status, c->status, "%s %s: %s", c->file, c->tensor, td_status_name(status));
    cr_expect_not_null(strstr(td_error(), c->says), "%s", td_error());
    cr_expect_eq(td_exit_code(status), 3);
    for (int i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}
