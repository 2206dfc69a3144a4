/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel_example.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/rng.h"
#include "kernels/kernel_example_build.h"

/* What lies around and between the rows of inputs, of outputs, and in outputs nobody has written:
 * NaN, so that reading it shows, and different for inputs and outputs, so that copying too much
 * shows. */
enum { CANARY = 64, AROUND_INPUT = 0xFF, AROUND_OUTPUT = 0xFE, UNWRITTEN = 0xFF, SMALL = 1 << 20 };

static int64_t case_count(td_op_id op, int size) {
    int64_t n = 0;
    while (example_case_find(op, size, n) != NULL) {
        n++;
    }
    return n;
}

int64_t td_kernel_example_cases(td_op_id op, int size_class) {
    return case_count(op, size_class);
}

const td_kernel *td_kernel_example_portable(td_op_id op) {
    int count;
    const td_kernel *kernels = td_kernels(&count);
    for (int i = 0; i < count; i++) {
        if (kernels[i].op == op && kernels[i].isa == TD_ISA_PORTABLE) {
            return &kernels[i];
        }
    }
    return NULL;
}

int example_add(td_kernel_example *example, const char *name, td_kernel_example_role role,
                int64_t rows, int64_t cols, int64_t ld, example_fill fill, float scale,
                void *pointer) {
    TD_ASSERT(example->n_buffers < EXAMPLE_BUFFERS && rows >= 0 && cols >= 0 && ld >= cols);
    int i = example->n_buffers++;
    example_buffer *buffer = &example->buffers[i];
    *buffer = (example_buffer){
        .shown = {name, role, rows, cols, ld, sizeof(float), NULL}, .fill = fill, .scale = scale};
    buffer->bytes = rows > 0 ? (size_t)((rows - 1) * ld + cols) * sizeof(float) : 0;
    if (pointer != NULL) {
        example_point(example, pointer, i, 0);
    }
    return i;
}

int example_add_bytes(td_kernel_example *example, const char *name, td_kernel_example_role role,
                      int64_t count, size_t element_bytes, example_fill fill, float scale,
                      void *pointer) {
    int i = example_add(example, name, role, 1, count, count, fill, scale, pointer);
    example->buffers[i].shown.element_bytes = element_bytes;
    example->buffers[i].bytes = (size_t)count * element_bytes;
    return i;
}

void example_point(td_kernel_example *example, void *pointer, int buffer, int64_t elements) {
    TD_ASSERT(example->n_slots < EXAMPLE_SLOTS);
    example->slots[example->n_slots++] = (example_slot){pointer, buffer, elements};
}

void example_shape(td_kernel_example *example, const char *format, ...) {
    size_t used = strlen(example->shape);
    va_list list;
    va_start(list, format);
    vsnprintf(example->shape + used, sizeof example->shape - used, format, list);
    va_end(list);
}

static size_t round_up(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

/* Gives every buffer its offset and returns the bytes of all. A guarded buffer ends at a page's
 * end, and the next page is the guard; scratch keeps its alignment of 64, up to 63 bytes before the
 * guard. One guarded before starts on a page. */
static size_t place(td_kernel_example *example, size_t page) {
    size_t used = 0;
    for (int i = 0; i < example->n_buffers; i++) {
        example_buffer *buffer = &example->buffers[i];
        bool scratch = buffer->shown.role == TD_EXAMPLE_SCRATCH;
        if (example->placement == TD_EXAMPLE_GUARDED) {
            size_t bytes = scratch ? round_up(buffer->bytes, CANARY) : buffer->bytes;
            used = round_up(used + CANARY + bytes, page);
            buffer->offset = used - bytes;
            used += page;
            continue;
        }
        if (example->placement == TD_EXAMPLE_GUARDED_BEFORE) {
            buffer->offset = round_up(used, page) + page;
            used = buffer->offset + buffer->bytes + CANARY;
            continue;
        }
        size_t element = buffer->shown.element_bytes;
        size_t shift =
            example->placement == TD_EXAMPLE_OFFSET && !scratch ? (element > 4 ? element : 4) : 0;
        buffer->offset = round_up(used, CANARY) + CANARY + shift;
        used = buffer->offset + buffer->bytes + CANARY;
    }
    return used;
}

static td_status allocate(td_kernel_example *example) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = place(example, page);
    TD_TRY(td_arena_create(bytes, &example->arena));
    if (bytes < SMALL) { /* a whole huge page would be cleared for a few small ones */
        madvise(example->arena.base, example->arena.bytes, MADV_NOHUGEPAGE);
    }
    for (int i = 0; i < example->n_buffers; i++) {
        example_buffer *buffer = &example->buffers[i];
        buffer->shown.data = example->arena.base + buffer->offset;
        example->shown[i] = buffer->shown;
        unsigned char *guard =
            example->arena.base + (example->placement == TD_EXAMPLE_GUARDED
                                       ? round_up(buffer->offset + buffer->bytes, page)
                                       : buffer->offset - page);
        if (example->placement >= TD_EXAMPLE_GUARDED && mprotect(guard, page, PROT_NONE) != 0) {
            return td_fail(TD_ESYS, "protect a page at %s of %s", buffer->shown.name,
                           td_ops[example->op].name);
        }
    }
    for (int i = 0; i < example->n_slots; i++) {
        const example_slot *slot = &example->slots[i];
        const td_kernel_example_buffer *shown = &example->buffers[slot->buffer].shown;
        void *address =
            (unsigned char *)shown->data + (size_t)slot->elements * shown->element_bytes;
        memcpy(slot->pointer, &address, sizeof address);
    }
    return TD_OK;
}

static int canary_byte(const example_buffer *buffer) {
    return buffer->shown.role == TD_EXAMPLE_IN ? AROUND_INPUT : AROUND_OUTPUT;
}

/* Calls for every run of bytes of a buffer that belongs to nobody: before it, between its rows,
 * behind it. True when none returns false. */
typedef bool canary_fn(unsigned char *bytes, size_t n, int value);

static bool each_canary(const td_kernel_example *example, const example_buffer *buffer,
                        canary_fn *fn) {
    const td_kernel_example_buffer *shown = &buffer->shown;
    unsigned char *data = shown->data;
    int value = canary_byte(buffer);
    bool good = example->placement == TD_EXAMPLE_GUARDED_BEFORE || fn(data - CANARY, CANARY, value);
    size_t row_bytes = (size_t)shown->ld * shown->element_bytes,
           used = (size_t)shown->cols * shown->element_bytes;
    for (int64_t r = 0; r + 1 < shown->rows && row_bytes > used; r++) {
        good = fn(data + (size_t)r * row_bytes + used, row_bytes - used, value) && good;
    }
    size_t behind = CANARY;
    if (example->placement == TD_EXAMPLE_GUARDED) {
        behind =
            shown->role == TD_EXAMPLE_SCRATCH ? round_up(buffer->bytes, CANARY) - buffer->bytes : 0;
    }
    return fn(data + buffer->bytes, behind, value) && good;
}

static bool set_canary(unsigned char *bytes, size_t n, int value) {
    memset(bytes, value, n);
    return true;
}

static bool canary_intact(unsigned char *bytes, size_t n, int value) {
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

/* 1.m * 2^-e with 23 random bits m and e in 0..3, scaled by a power of two or so. */
static float random_float(td_rng *rng, bool sign, float scale) {
    uint32_t word = td_rng_u32(rng);
    uint32_t bits = (127u - (word >> 23 & 3u)) << 23 | (word & 0x7FFFFFu);
    float value;
    memcpy(&value, &bits, sizeof value);
    return sign && word >> 31 != 0 ? -value * scale : value * scale;
}

/* Captions of 77 tokens: a start, 6 to 17 words, an end, and zeros, as CLIP pads them. Word w comes
 * up about as often as 1 / w, by powers of two, so some rows get many gradients and most none. */
enum { CAPTION = 77, LEAST_WORDS = 6, MORE_WORDS = 12 };

static void fill_captions(td_rng *rng, int32_t vocab, int32_t *ids, int64_t n) {
    uint64_t octaves = 1, words = 0;
    while (INT64_C(2) << octaves < vocab) {
        octaves++;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)(i % CAPTION);
        words = at == 0 ? LEAST_WORDS + td_rng_below(rng, MORE_WORDS) : words;
        uint64_t from = UINT64_C(1) << td_rng_below(rng, octaves);
        uint64_t word = (from + td_rng_below(rng, from)) % (uint64_t)vocab;
        ids[i] = at == 0           ? vocab - 2
                 : at <= words     ? (int32_t)word
                 : at == words + 1 ? vocab - 1
                                   : 0;
    }
}

static void fill_row(const example_buffer *buffer, td_rng *rng, void *row) {
    for (int64_t c = 0; c < buffer->shown.cols; c++) {
        if (buffer->fill == FILL_SIGNED || buffer->fill == FILL_POSITIVE) {
            ((float *)row)[c] = random_float(rng, buffer->fill == FILL_SIGNED, buffer->scale);
        } else if (buffer->fill == FILL_IDS) {
            ((int32_t *)row)[c] = (int32_t)td_rng_below(rng, (uint64_t)buffer->scale);
        } else if (buffer->fill == FILL_CAPTIONS) {
            fill_captions(rng, (int32_t)buffer->scale, row, buffer->shown.cols);
            return;
        } else if (buffer->fill == FILL_BF16) { /* any exponent but that of infinities */
            uint32_t word = td_rng_u32(rng);
            ((uint16_t *)row)[c] = (uint16_t)((word & 0x807Fu) | (word >> 16) % 255u << 7);
        }
    }
}

static void fill(td_kernel_example *example, int i) {
    example_buffer *buffer = &example->buffers[i];
    unsigned char *data = buffer->shown.data;
    memset(data, UNWRITTEN, buffer->bytes);
    each_canary(example, buffer, set_canary);
    td_rng rng = td_rng_make(example->seed, TD_PURPOSE_TEST,
                             (uint64_t)example->op * EXAMPLE_BUFFERS + (uint64_t)i);
    for (int64_t r = 0; r < buffer->shown.rows; r++) {
        fill_row(buffer, &rng, data + (size_t)(r * buffer->shown.ld) * buffer->shown.element_bytes);
    }
}

static uint64_t hash_bytes(const unsigned char *data, size_t bytes) {
    uint64_t hash = 0xCBF29CE484222325u, word;
    for (; bytes >= sizeof word; bytes -= sizeof word, data += sizeof word) {
        memcpy(&word, data, sizeof word);
        hash = (hash ^ word) * 0x100000001B3u;
        hash ^= hash >> 29;
    }
    for (; bytes > 0; bytes--) {
        hash = (hash ^ *data++) * 0x100000001B3u;
    }
    return hash;
}

/* Hashes inputs and copies in-out buffers, once their contents are final. */
static td_status remember(td_kernel_example *example) {
    for (int i = 0; i < example->n_buffers; i++) {
        example_buffer *buffer = &example->buffers[i];
        if (buffer->shown.role == TD_EXAMPLE_IN) {
            buffer->hash = hash_bytes(buffer->shown.data, buffer->bytes);
        } else if (buffer->shown.role == TD_EXAMPLE_INOUT) {
            buffer->start_copy = td_alloc(buffer->bytes + 1);
            if (buffer->start_copy == NULL) {
                return td_fail(TD_ENOMEM, "example %s: %zu bytes", td_ops[example->op].name,
                               buffer->bytes);
            }
            memcpy(buffer->start_copy, buffer->shown.data, buffer->bytes);
        }
    }
    return TD_OK;
}

void example_point_anywhere(td_kernel_example *example) {
    for (int i = 0; i < example->n_slots; i++) {
        void *somewhere = example;
        memcpy(example->slots[i].pointer, &somewhere, sizeof somewhere);
    }
}

static td_status prepare(td_kernel_example *example) {
    example_build(example);
    example_point_anywhere(example); /* scratch may depend on which pointers are there */
    int64_t scratch = td_ops[example->op].scratch(&example->args);
    example->scratch =
        example_add_bytes(example, "scratch", TD_EXAMPLE_SCRATCH, scratch, 1, FILL_LATER, 0, NULL);
    TD_TRY(allocate(example));
    for (int i = 0; i < example->n_buffers; i++) {
        fill(example, i);
    }
    TD_TRY(example_finish(example));
    return remember(example);
}

static td_status allocate_example(const example_case *spec, td_kernel_example **out) {
    td_kernel_example *example = td_alloc_zero(sizeof *example);
    if (example == NULL) {
        return td_fail(TD_ENOMEM, "example %s: %zu bytes", td_ops[spec->op].name, sizeof *example);
    }
    example->op = spec->op;
    example->spec = *spec;
    *out = example;
    return TD_OK;
}

static td_status create(const example_case *spec, uint64_t seed,
                        td_kernel_example_placement placement, td_kernel_example **out) {
    td_kernel_example *example = NULL;
    TD_TRY(allocate_example(spec, &example));
    example->placement = placement;
    example->seed = seed;
    td_status status = prepare(example);
    if (status != TD_OK) {
        td_kernel_example_destroy(example);
        return status;
    }
    *out = example;
    return TD_OK;
}

static td_status find_case(td_op_id op, int size_class, int64_t case_index,
                           const example_case **out) {
    *out = example_case_find(op, size_class, case_index);
    return *out != NULL ? TD_OK
                        : td_fail(TD_EUSAGE, "%s has %lld cases of size %d, not a case %lld",
                                  td_ops[op].name, (long long)case_count(op, size_class),
                                  size_class, (long long)case_index);
}

td_status td_kernel_example_create_at(td_op_id op, int size_class, int64_t case_index,
                                      uint64_t seed, td_kernel_example_placement placement,
                                      td_kernel_example **out) {
    const example_case *spec;
    TD_TRY(find_case(op, size_class, case_index, &spec));
    return create(spec, seed, placement, out);
}

td_status td_kernel_example_outline(td_op_id op, int size_class, int64_t case_index,
                                    td_kernel_example **out) {
    const example_case *spec;
    td_kernel_example *example = NULL;
    TD_TRY(find_case(op, size_class, case_index, &spec));
    TD_TRY(allocate_example(spec, &example));
    example_build(example);
    example_point_anywhere(example);
    for (int i = 0; i < example->n_buffers; i++) {
        example->shown[i] = example->buffers[i].shown;
    }
    *out = example;
    return TD_OK;
}

td_status td_kernel_example_create_of(td_op_id op, const int64_t numbers[TD_EXAMPLE_DIMS],
                                      uint64_t seed, td_kernel_example_placement placement,
                                      td_kernel_example **out) {
    example_case spec = {.op = op};
    memcpy(spec.d, numbers, sizeof spec.d);
    return create(&spec, seed, placement, out);
}

td_status td_kernel_example_create(td_op_id op, int size_class, int64_t case_index, uint64_t seed,
                                   td_kernel_example **out) {
    return td_kernel_example_create_at(op, size_class, case_index, seed, TD_EXAMPLE_ALIGNED, out);
}

void td_kernel_example_destroy(td_kernel_example *example) {
    if (example == NULL) {
        return;
    }
    for (int i = 0; i < example->n_buffers; i++) {
        td_free(example->buffers[i].start_copy);
        td_free(example->buffers[i].kept_copy);
    }
    td_arena_destroy(&example->arena);
    td_free(example);
}

const void *td_kernel_example_args(const td_kernel_example *example) {
    return &example->args;
}

const char *td_kernel_example_shape(const td_kernel_example *example) {
    return example->shape;
}

const td_kernel_example_buffer *td_kernel_example_buffers(const td_kernel_example *example,
                                                          int *count) {
    *count = example->n_buffers;
    return example->shown;
}

void td_kernel_example_reset(td_kernel_example *example) {
    for (int i = 0; i < example->n_buffers; i++) {
        example_buffer *buffer = &example->buffers[i];
        if (buffer->shown.role == TD_EXAMPLE_OUT) {
            memset(buffer->shown.data, UNWRITTEN, buffer->bytes);
            each_canary(example, buffer, set_canary);
        } else if (buffer->shown.role == TD_EXAMPLE_INOUT) {
            memcpy(buffer->shown.data, buffer->start_copy, buffer->bytes);
        }
    }
}

void td_kernel_example_run(td_kernel_example *example, const td_kernel *row, int64_t parts) {
    int64_t tiles = td_ops[example->op].tiles(&example->args);
    example_buffer *scratch = &example->buffers[example->scratch];
    for (int64_t part = parts - 1; part >= 0; part--) {
        memset(scratch->shown.data, UNWRITTEN, scratch->bytes);
        row->run(&example->args, tiles * part / parts, tiles * (part + 1) / parts,
                 scratch->shown.data);
    }
}

td_status example_compute(td_op_id op, const void *args) {
    const td_kernel *row = td_kernel_example_portable(op);
    td_arena scratch;
    TD_ASSERT(row != NULL);
    TD_TRY(td_arena_create((size_t)td_ops[op].scratch(args), &scratch));
    row->run(args, 0, td_ops[op].tiles(args), scratch.base);
    td_arena_destroy(&scratch);
    return TD_OK;
}

static bool is_result(const example_buffer *buffer) {
    return buffer->shown.role == TD_EXAMPLE_OUT || buffer->shown.role == TD_EXAMPLE_INOUT;
}

td_status td_kernel_example_keep(td_kernel_example *example) {
    for (int i = 0; i < example->n_buffers; i++) {
        example_buffer *buffer = &example->buffers[i];
        if (!is_result(buffer)) {
            continue;
        }
        buffer->kept_copy = td_realloc(buffer->kept_copy, buffer->bytes + 1);
        if (buffer->kept_copy == NULL) {
            return td_fail(TD_ENOMEM, "keep %s of %s: %zu bytes", buffer->shown.name,
                           td_ops[example->op].name, buffer->bytes);
        }
        memcpy(buffer->kept_copy, buffer->shown.data, buffer->bytes);
    }
    return TD_OK;
}

uint64_t td_kernel_example_hash(const td_kernel_example *kept) {
    uint64_t hash = 0;
    for (int i = 0; i < kept->n_buffers; i++) {
        const example_buffer *buffer = &kept->buffers[i];
        if (is_result(buffer)) {
            TD_ASSERT(buffer->kept_copy != NULL);
            hash = hash * 0x9E3779B97F4A7C15u + hash_bytes(buffer->kept_copy, buffer->bytes);
        }
    }
    return hash;
}

/* Says where two equally shaped buffers differ first, as values where they are f32. */
static td_status differ(const td_kernel_example *example, const example_buffer *buffer,
                        const unsigned char *want) {
    const unsigned char *got = buffer->shown.data;
    size_t width = buffer->shown.element_bytes, i = 0;
    while (memcmp(got + i * width, want + i * width, width) == 0) {
        i++;
    }
    int64_t row = (int64_t)i / buffer->shown.ld, col = (int64_t)i % buffer->shown.ld;
    float values[2] = {0, 0};
    if (width == sizeof(float)) {
        memcpy(&values[0], got + i * width, width);
        memcpy(&values[1], want + i * width, width);
    }
    return td_fail(TD_ECHECK, "%s %s: %s[%lld][%lld] is %a, expected %a", td_ops[example->op].name,
                   example->shape, buffer->shown.name, (long long)row, (long long)col,
                   (double)values[0], (double)values[1]);
}

/* An f32 of all ones is a NaN that no arithmetic produces, so it marks what nobody wrote. */
static td_status check_written(const td_kernel_example *example, const example_buffer *buffer) {
    const td_kernel_example_buffer *shown = &buffer->shown;
    for (int64_t r = 0; r < shown->rows; r++) {
        for (int64_t c = 0; c < shown->cols; c++) {
            size_t at = (size_t)(r * shown->ld + c) * shown->element_bytes;
            if (canary_intact((unsigned char *)shown->data + at, shown->element_bytes, UNWRITTEN)) {
                return td_fail(TD_ECHECK, "%s %s: %s[%lld][%lld] was not written",
                               td_ops[example->op].name, example->shape, shown->name, (long long)r,
                               (long long)c);
            }
        }
    }
    return TD_OK;
}

td_status td_kernel_example_check(const td_kernel_example *example, const td_kernel_example *kept) {
    TD_ASSERT(memcmp(&example->spec, &kept->spec, sizeof example->spec) == 0 &&
              example->seed == kept->seed);
    for (int i = 0; i < example->n_buffers; i++) {
        const example_buffer *buffer = &example->buffers[i];
        const char *op = td_ops[example->op].name, *name = buffer->shown.name;
        if (!each_canary(example, buffer, canary_intact)) {
            return td_fail(TD_ECHECK, "%s %s: written outside of %s", op, example->shape, name);
        }
        if (buffer->shown.role == TD_EXAMPLE_IN &&
            hash_bytes(buffer->shown.data, buffer->bytes) != buffer->hash) {
            return td_fail(TD_ECHECK, "%s %s: input %s was changed", op, example->shape, name);
        }
        if (!is_result(buffer)) {
            continue;
        }
        TD_ASSERT(kept->buffers[i].kept_copy != NULL);
        if (memcmp(buffer->shown.data, kept->buffers[i].kept_copy, buffer->bytes) != 0) {
            return differ(example, buffer, kept->buffers[i].kept_copy);
        }
        if (buffer->shown.role == TD_EXAMPLE_OUT) {
            TD_TRY(check_written(example, buffer));
        }
    }
    return TD_OK;
}

td_mix td_kernel_example_mix(const td_kernel_example *example, td_mix_pass *out) {
    static const td_kernel_example_role order[] = {TD_EXAMPLE_INOUT, TD_EXAMPLE_IN, TD_EXAMPLE_OUT};
    int count, n[3] = {0}, streams = 0;
    const td_kernel_example_buffer *all = td_kernel_example_buffers(example, &count);
    int64_t most = 0, element_bytes[3] = {0};
    for (int i = 0; i < count; i++) {
        int64_t bytes = all[i].rows * all[i].ld * (int64_t)all[i].element_bytes;
        most = bytes > most && all[i].role != TD_EXAMPLE_SCRATCH ? bytes : most;
    }
    *out = (td_mix_pass){.n = INT64_MAX};
    for (int role = 0; role < 3; role++) {
        for (int i = 0; i < count; i++) {
            int64_t elements = all[i].rows * all[i].ld;
            if (all[i].role != order[role] || elements * (int64_t)all[i].element_bytes < most / 4) {
                continue;
            }
            if (streams == TD_MIX_STREAMS) {
                return TD_MIX_NONE;
            }
            out->stream[streams++] = all[i].data;
            out->n = elements < out->n ? elements : out->n;
            element_bytes[role] = (int64_t)all[i].element_bytes;
            n[role]++;
        }
    }
    for (td_mix mix = TD_MIX_NONE; ++mix < TD_MIX_COUNT;) {
        const td_mix_row *row = &td_mixes[mix];
        int in_place = row->in_place ? row->stores : 0;
        if (n[0] == in_place && n[1] == row->loads - in_place && n[2] == row->stores - in_place &&
            (n[1] == 0 || element_bytes[1] == row->load_bytes) &&
            (n[2] == 0 || element_bytes[2] == row->store_bytes)) {
            return mix;
        }
    }
    return TD_MIX_NONE;
}
