/* SPDX-License-Identifier: Apache-2.0
 * The data path: checksums (by one worker or shared out), checked records read and written, image
 * decoding with resizing, captions.
 */
#include <isa-l.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/clock.h"
#include "bench/case.h"
#include "bench/ceiling.h"
#include "bench/ways.h"
#include "data/crc32c.h"
#include "data/image.h"
#include "data/pairs.h"
#include "data/resize.h"
#include "data/record_file.h"
#include "data/tokenizer.h"
#include "threads/team.h"

/* Record files of about 64 MB: larger than every cache, small enough for a short run. */
enum {
    PACKED_BYTES = 8000000,
    RECORDS_BYTES = 64000000,
    IMAGE_SIDE = 256,
    FIT_SIDE = 224,
    CAPTIONS = 256
};
enum { CONTEXT = 77, SEED = 1 };

typedef struct data_state {
    td_arena arena; /* crc32c, records: on huge pages, as the ceilings are */
    uint8_t *bytes;
    size_t size;
    td_crc32c_fn *crc;
    size_t piece;
    td_compression compression;
    _Atomic uint32_t sum;
    int64_t passes; /* of one sample of the roof */
    char path[128]; /* records; "" when there is no file */
    void *encoded;  /* image */
    size_t encoded_size;
    td_image picture;
    float *pixels;
    td_tokenizer *tokenizer;
    char *captions[CAPTIONS];
    int32_t ids[CONTEXT];
} data_state;

/* One row a case: how it is set up, proved and stepped. */
typedef struct data_row {
    const char *id;
    int64_t argument;
    bool quick;
    td_status (*setup)(data_state *s, int64_t argument);
    td_status (*verify)(td_bench *bench, data_state *s);
    td_status (*step)(data_state *s);
    void (*cost)(const data_state *s, td_cost *out);
    void (*region)(void *state, td_worker *worker); /* instead of step: by every worker */
    bool reads;                                     /* bytes: its roof is reading as many */
} data_row;

static td_status random_bytes(data_state *s, size_t size) {
    TD_TRY(td_arena_create(size, &s->arena));
    s->bytes = s->arena.base;
    s->size = size;
    td_rng rng = td_rng_make(SEED, TD_PURPOSE_TEST, 0);
    for (size_t i = 0; i < size; i++) {
        s->bytes[i] = (uint8_t)td_rng_u32(&rng);
    }
    return TD_OK;
}

static void cost_crc(const data_state *s, td_cost *out) {
    *out = (td_cost){
        .value = TD_VALUE_BYTES, .bytes = (double)s->size, .working_set = (double)s->size};
}

/* ---- crc32c ---- */

static const struct {
    const char *name;
    td_crc32c_need need;
    td_crc32c_fn *crc;
} crc_rows[] = {
#define CRC_ROW(name, need, function) {#name, need, function},
    TD_CRC32C_MAP(CRC_ROW)
#undef CRC_ROW
};
enum { CRC_ROWS = sizeof crc_rows / sizeof crc_rows[0] };

/* Pieces of a buffer that stays in the nearest cache that holds two of them, and one from memory.
 */
static const struct {
    const char *name;
    size_t piece, buffer;
} crc_sizes[] = {
    {"64B", 64, 16 << 10},     {"300B", 300, 300 * 50},    {"4KiB", 4 << 10, 16 << 10},
    {"100KB", 100000, 100000}, {"1MiB", 1 << 20, 1 << 20}, {"256MiB", 256 << 20, 256 << 20},
};
enum { CRC_SIZES = sizeof crc_sizes / sizeof crc_sizes[0] };

/* The argument is row * CRC_SIZES + size. */
static td_status setup_crc(data_state *s, int64_t argument) {
    int64_t row = argument / CRC_SIZES;
    if (!td_crc32c_runs(crc_rows[row].need)) {
        return td_fail(TD_ESKIP, "this processor lacks the instructions of %s", crc_rows[row].name);
    }
    s->crc = crc_rows[row].crc;
    s->piece = crc_sizes[argument % CRC_SIZES].piece;
    return random_bytes(s, crc_sizes[argument % CRC_SIZES].buffer);
}

static td_status verify_crc(td_bench *bench, data_state *s) {
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "equal to portable, RFC 3720");
    uint32_t known = s->crc("123456789", 9), here = s->crc(s->bytes, s->size);
    if (known != 0xE3069283u || here != td_crc32c__portable(s->bytes, s->size)) {
        return td_fail(TD_ECHECK, "crc %08x of \"123456789\", %08x of the buffer", known, here);
    }
    uint32_t library = td_crc32c__isal(s->bytes, s->size);
    if (library != here) {
        return td_fail(TD_ECHECK, "ISA-L finds %08x of the buffer, not %08x", library, here);
    }
    return TD_OK;
}

static td_status step_crc(data_state *s) {
    for (size_t at = 0; at < s->size; at += s->piece) {
        s->sum += s->crc(s->bytes + at, s->piece);
    }
    return TD_OK;
}

/* The same buffer cut in pieces, whose checksums the workers of a team share out. */
static td_status setup_shared_crc(data_state *s, int64_t bytes) {
    s->piece = 1 << 20;
    return random_bytes(s, (size_t)bytes);
}

static void sum_share(void *state, td_worker *worker) {
    data_state *s = state;
    int64_t first, last;
    uint32_t sum = 0;
    td_worker_share(worker, (int64_t)(s->size / s->piece), &first, &last);
    for (int64_t i = first; i < last; i++) {
        sum += td_crc32c(s->bytes + (size_t)i * s->piece, s->piece);
    }
    atomic_fetch_add_explicit(&s->sum, sum, memory_order_relaxed);
}

static td_status verify_shared_crc(td_bench *bench, data_state *s) {
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "sum equal to portable's");
    uint32_t wanted = 0;
    for (size_t at = 0; at < s->size; at += s->piece) {
        wanted += td_crc32c__portable(s->bytes + at, s->piece);
    }
    atomic_store_explicit(&s->sum, 0, memory_order_relaxed);
    td_team_run(bench->team, sum_share, s);
    uint32_t found = atomic_load_explicit(&s->sum, memory_order_relaxed);
    return found == wanted ? TD_OK : td_fail(TD_ECHECK, "sum %08x, not %08x", found, wanted);
}

/* ---- records ---- */

/* What is written goes to memory where that is possible: committing a file waits for the disk. What
 * is read is a cached file of a disk, as training reads it. */
static void make_path(data_state *s, bool in_memory) {
    const char *directory =
        in_memory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(s->path, sizeof s->path, "%.80s/tandem-records-%ld.tfrecord",
             directory ? directory : "/tmp", (long)getpid());
}

static td_status write_records(data_state *s) {
    td_tfrecord_writer writer;
    TD_TRY(td_tfrecord_create_compressed(s->path, s->compression, &writer));
    for (size_t at = 0; at < s->size; at += s->piece) {
        td_status status = td_tfrecord_append(&writer, s->bytes + at, s->piece);
        if (status != TD_OK) {
            td_tfrecord_abort(&writer);
            return status;
        }
    }
    return td_tfrecord_commit(&writer);
}

static td_status setup_records(data_state *s, int64_t piece) {
    s->piece = (size_t)piece;
    make_path(s, false);
    TD_TRY(random_bytes(s, (size_t)(RECORDS_BYTES / piece * piece)));
    return write_records(s);
}

static td_status setup_written(data_state *s, int64_t piece) {
    s->piece = (size_t)piece;
    make_path(s, true);
    TD_TRY(random_bytes(s, (size_t)(RECORDS_BYTES / piece * piece)));
    return write_records(s);
}

/* Compressed files: 8 MB of bytes with 4 bits of news each. */
static td_status setup_packed(data_state *s, int64_t compression) {
    s->compression = (td_compression)compression;
    s->piece = 300;
    make_path(s, true);
    TD_TRY(random_bytes(s, PACKED_BYTES / s->piece * s->piece));
    for (size_t i = 0; i < s->size; i++) {
        s->bytes[i] = (uint8_t)('a' + s->bytes[i] % 16);
    }
    return write_records(s);
}

static td_status read_records(data_state *s, bool compare) {
    td_record_file *file;
    TD_TRY(
        td_record_file_open(s->path, &(td_tfrecord_options){.policy = TD_TFRECORD_STRICT}, &file));
    td_tfrecord record;
    bool end = false;
    td_status status = TD_OK;
    size_t at = 0;
    while ((status = td_record_file_next(file, &record, &end)) == TD_OK && !end) {
        if (record.size != s->piece || at >= s->size ||
            (compare && memcmp(record.data, s->bytes + at, s->piece) != 0)) {
            status = td_fail(TD_ECHECK, "record %lld differs from what was written",
                             (long long)record.number);
            break;
        }
        at += s->piece;
    }
    td_record_file_close(file);
    return status == TD_OK && at != s->size
               ? td_fail(TD_ECHECK, "%zu bytes of records, expected %zu", at, s->size)
               : status;
}

static td_status verify_records(td_bench *bench, data_state *s) {
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:written");
    return read_records(s, true);
}

static td_status step_records(data_state *s) {
    return read_records(s, false);
}

static void cost_records(const data_state *s, td_cost *out) {
    cost_crc(s, out);
}

/* ---- images ---- */

static td_status setup_image(data_state *s, int64_t jpeg) {
    TD_TRY(td_image_create(IMAGE_SIDE, IMAGE_SIDE, &s->picture));
    /* Smooth shapes with edges, as clip art has them; noise would measure the entropy coder. */
    for (int64_t y = 0; y < IMAGE_SIDE; y++) {
        for (int64_t x = 0; x < IMAGE_SIDE; x++) {
            unsigned char *pixel = s->picture.pixels + 3 * (y * IMAGE_SIDE + x);
            bool inside = (x - 90) * (x - 90) + (y - 120) * (y - 120) < 70 * 70;
            pixel[0] = (unsigned char)(inside ? 220 : x);
            pixel[1] = (unsigned char)(inside ? 40 + y / 4 : y);
            pixel[2] = (unsigned char)(inside ? 60 : (x + y) / 2);
        }
    }
    s->pixels = td_alloc(sizeof(float) * 3 * FIT_SIDE * FIT_SIDE);
    if (!s->pixels) {
        return td_fail(TD_ENOMEM, "pixels");
    }
    return jpeg ? td_image_encode_jpeg(&s->picture, 90, &s->encoded, &s->encoded_size)
                : td_image_encode_png(&s->picture, &s->encoded, &s->encoded_size);
}

static td_status step_image(data_state *s) {
    td_image decoded = {0}, fitted = {0};
    td_status status = td_image_decode(s->encoded, s->encoded_size, &decoded);
    if (status == TD_OK) {
        status = td_image_fit(&decoded, FIT_SIDE, &fitted);
    }
    if (status == TD_OK) {
        td_image_normalise(&fitted, s->pixels);
    }
    td_image_destroy(&decoded);
    td_image_destroy(&fitted);
    return status;
}

/* PNG loses nothing; JPEG at quality 90 stays within a mean of 4 levels on this picture. */
static td_status verify_image(td_bench *bench, data_state *s) {
    bool jpeg = strstr(bench->subject->id, "jpeg") != NULL;
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             jpeg ? "mean distance <= 4 levels" : "memcmp:original");
    td_image decoded = {0};
    TD_TRY(td_image_decode(s->encoded, s->encoded_size, &decoded));
    double distance = 0;
    size_t bytes = 3 * (size_t)IMAGE_SIDE * IMAGE_SIDE;
    bool same_shape = decoded.width == IMAGE_SIDE && decoded.height == IMAGE_SIDE;
    for (size_t i = 0; same_shape && i < bytes; i++) {
        distance += abs(decoded.pixels[i] - s->picture.pixels[i]);
    }
    distance /= (double)bytes;
    td_image_destroy(&decoded);
    if (!same_shape || !(distance <= (jpeg ? 4.0 : 0.0))) {
        return td_fail(TD_ECHECK, "decoded picture is %.3g levels off", distance);
    }
    TD_TRY(step_image(s));
    for (int i = 0; i < 3 * FIT_SIDE * FIT_SIDE; i++) {
        if (!(fabs((double)s->pixels[i]) <= 3)) {
            return td_fail(TD_ECHECK, "pixel %d is %g after normalising", i, (double)s->pixels[i]);
        }
    }
    return TD_OK;
}

static void cost_image(const data_state *s, td_cost *out) {
    (void)s;
    *out = (td_cost){.value = TD_VALUE_ITEMS, .items = 1, .unit = "images/s"};
}

/* ---- resize ---- */

/* Width and height before and after; peers/resize_peer.py has the same. */
static const struct {
    int64_t width, height, new_width, new_height;
} resizes[] = {{640, 480, 224, 224}, {256, 256, 224, 224}, {128, 128, 224, 224}};

static void cost_resize(const data_state *s, td_cost *out) {
    double pixels = (double)(s->picture.width * s->picture.height);
    *out = (td_cost){.value = TD_VALUE_ITEMS, .items = pixels * 1e-6, .unit = "Mpixel/s"};
}

static td_status setup_resize(data_state *s, int64_t which) {
    s->size = (size_t)which;
    TD_TRY(td_image_create(resizes[which].width, resizes[which].height, &s->picture));
    td_rng rng = td_rng_make(SEED, TD_PURPOSE_TEST, 1);
    for (int64_t i = 0; i < 3 * s->picture.width * s->picture.height; i++) {
        s->picture.pixels[i] = (unsigned char)td_rng_u32(&rng);
    }
    return TD_OK;
}

static td_status resized(const data_state *s, td_isa isa, td_image *out) {
    return td_image_resize_at(&s->picture, resizes[s->size].new_width, resizes[s->size].new_height,
                              isa, out);
}

static td_status step_resize(data_state *s) {
    td_isa isa;
    td_image out;
    TD_TRY(td_isa_active(&isa));
    TD_TRY(resized(s, isa, &out));
    td_image_destroy(&out);
    return TD_OK;
}

/* The row in use against the portable one, whose bytes are Pillow's (tests/golden). */
static td_status verify_resize(td_bench *bench, data_state *s) {
    td_isa isa;
    td_image want = {0}, got = {0};
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "memcmp:portable");
    TD_TRY(td_isa_active(&isa));
    td_status status = resized(s, TD_ISA_PORTABLE, &want);
    if (status == TD_OK) {
        status = resized(s, isa, &got);
    }
    if (status == TD_OK &&
        memcmp(want.pixels, got.pixels, (size_t)(3 * want.width * want.height)) != 0) {
        status = td_fail(TD_ECHECK, "the resized picture differs from the portable row's");
    }
    td_image_destroy(&want);
    td_image_destroy(&got);
    return status;
}

/* ---- captions ---- */

static td_status setup_captions(data_state *s, int64_t unused) {
    (void)unused;
    TD_TRY(td_tokenizer_load(NULL, &s->tokenizer));
    td_pairs *pairs;
    TD_TRY(td_pairs_open(&(td_pairs_options){.n_synthetic = CAPTIONS, .seed = SEED}, &pairs));
    td_status status = TD_OK;
    for (int i = 0; i < CAPTIONS && status == TD_OK; i++) {
        char *label;
        status = td_pairs_text(pairs, i, &s->captions[i], &label);
        if (status == TD_OK) {
            td_free(label);
        }
    }
    td_pairs_close(pairs);
    return status;
}

static void without_spaces(const char *text, char *out, size_t size) {
    size_t used = 0;
    for (; *text && used + 1 < size; text++) {
        if (*text != ' ') {
            out[used++] = *text;
        }
    }
    out[used] = '\0';
}

/* The captions are lower-case already, so ids must read back as what they were made of. */
static td_status verify_captions(td_bench *bench, data_state *s) {
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "ids read back as the caption");
    for (int i = 0; i < CAPTIONS; i++) {
        char want[512], got[512];
        int64_t n = td_tokenize(s->tokenizer, s->captions[i], s->ids, CONTEXT);
        char *text = n > 2 ? td_detokenize(s->tokenizer, s->ids + 1, n - 2) : NULL;
        without_spaces(s->captions[i], want, sizeof want);
        without_spaces(text ? text : "", got, sizeof got);
        td_free(text);
        if (strcmp(want, got) != 0) {
            return td_fail(TD_ECHECK, "caption \"%s\" reads back as \"%s\"", want, got);
        }
    }
    return TD_OK;
}

static td_status step_captions(data_state *s) {
    for (int i = 0; i < CAPTIONS; i++) {
        td_tokenize(s->tokenizer, s->captions[i], s->ids, CONTEXT);
    }
    return TD_OK;
}

static void cost_captions(const data_state *s, td_cost *out) {
    (void)s;
    *out = (td_cost){.value = TD_VALUE_ITEMS, .items = CAPTIONS, .unit = "captions/s"};
}

/* ---- the table ---- */

/* clang-format off */
#define ROW(id, argument, set) \
    {id, argument, true, setup_##set, verify_##set, step_##set, cost_##set, NULL, false}
#define READ(id, argument, set) \
    {id, argument, true, setup_##set, verify_records, step_records, cost_records, NULL, true}
#define WRITE(id, argument, set) \
    {id, argument, true, setup_##set, verify_records, write_records, cost_crc, NULL, false}
#define SHARED(id, argument, set, region) \
    {id, argument, true, setup_##set, verify_##set, NULL, cost_crc, region, true}
static const data_row rows[] = {
    READ("data/tfrecord_read/checked/100KB", 100000, records),
    READ("data/tfrecord_read/checked/300B",     300, records),
    READ("data/tfrecord_read/gzip/300B",    TD_COMPRESSION_GZIP, packed),
    READ("data/tfrecord_read/zstd/300B",    TD_COMPRESSION_ZSTD, packed),
    WRITE("data/tfrecord_write/none/100KB",  100000, written),
    WRITE("data/tfrecord_write/none/300B",      300, written),
    WRITE("data/tfrecord_write/gzip/300B",     TD_COMPRESSION_GZIP, packed),
    WRITE("data/tfrecord_write/zstd/300B",     TD_COMPRESSION_ZSTD, packed),
    SHARED("data/crc32c_shared/1MiB/256MiB",  256 << 20, shared_crc, sum_share),
    SHARED("data/crc32c_shared/1MiB/16MiB",    16 << 20, shared_crc, sum_share),
    ROW("data/image/png_decode_resize/256-224",  0, image),
    ROW("data/image/jpeg_decode_resize/256-224", 1, image),
    ROW("data/image/resize/640x480-224x224",     0, resize),
    ROW("data/image/resize/256x256-224x224",     1, resize),
    ROW("data/image/resize/128x128-224x224",     2, resize),
    ROW("data/tokenize/builtin/captions",        0, captions),
};
#undef ROW
#undef READ
#undef WRITE
#undef SHARED
/* clang-format on */

static const data_row crc_row = {"",       0,        true, setup_crc, verify_crc,
                                 step_crc, cost_crc, NULL, true};

/* param[0] is the row, or -1: a checksum, whose row and size param[1] tells. */
static const data_row *row_of(const td_bench *bench) {
    return bench->subject->param[0] < 0 ? &crc_row : &rows[bench->subject->param[0]];
}

static void list_crc(const td_workload *self, td_case_list *list) {
    for (int64_t i = 0; i < (int64_t)CRC_ROWS * CRC_SIZES; i++) {
        td_case *added = td_case_add(list, self, "data/crc32c/%s/%s", crc_rows[i / CRC_SIZES].name,
                                     crc_sizes[i % CRC_SIZES].name);
        added->param[0] = -1;
        added->param[1] = i;
        added->quick = crc_sizes[i % CRC_SIZES].piece == 1 << 20;
    }
}

static td_status list_data(const td_workload *self, td_case_list *list) {
    list_crc(self, list);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_case *added = td_case_add(list, self, "%s", rows[i].id);
        added->param[0] = (int64_t)i;
        added->quick = rows[i].quick;
    }
    return TD_OK;
}

static bool fits_data(const td_case *subject, const td_layout *layout) {
    bool shared = subject->param[0] >= 0 && rows[subject->param[0]].region != NULL;
    return layout->ranks == 1 && (shared || layout->workers == 1);
}

/* ---- beside ---- */

enum { READING, ISA_L }; /* companions; the second beside checksums of other rows only */
enum { READ_GRAIN = 512 };

static void add_companion(td_outcome *out, const char *name, bool library) {
    td_companion *companion = &out->companions[out->n_companions++];
    snprintf(companion->name, sizeof companion->name, "%s", name);
    companion->state = TD_OUTCOME_OK;
    companion->library = library;
}

static void add_companions(td_bench *bench) {
    const data_state *s = bench->state;
    td_outcome *out = bench->outcome;
    if (!row_of(bench)->reads) {
        return;
    }
    add_companion(out, "read", false);
    if (s->crc != NULL && s->crc != td_crc32c__isal) {
        add_companion(out, "isa-l", true);
        td_companion *library = &out->companions[ISA_L];
        snprintf(library->version, sizeof library->version, "%d.%d.%d", ISAL_MAJOR_VERSION,
                 ISAL_MINOR_VERSION, ISAL_PATCH_VERSION);
        snprintf(library->method, sizeof library->method, "equal to portable");
    }
}

static void read_share(void *arg, td_worker *worker) {
    data_state *s = ((td_bench *)arg)->state;
    td_isa isa;
    int64_t first, last;
    uint64_t seen = 0;
    td_worker_share(worker, (int64_t)(s->size / READ_GRAIN), &first, &last);
    bool known = td_isa_active(&isa) == TD_OK; /* or the run had not started */
    for (int64_t pass = 0; known && pass < s->passes; pass++) {
        seen ^= td_peak_read(isa, s->bytes + first * READ_GRAIN, (last - first) * READ_GRAIN);
    }
    atomic_fetch_xor_explicit(&s->sum, (uint32_t)seen, memory_order_relaxed);
}

static td_status beside_data(td_bench *bench, int companion, int64_t repeat, double *ns) {
    data_state *s = bench->state;
    double scale = 1;
    int64_t start = td_now_ns();
    if (companion == READING) {
        scale = (double)s->size / (double)(s->size / READ_GRAIN * READ_GRAIN);
        s->passes = repeat;
        td_team_run(bench->team, read_share, bench);
    } else {
        td_crc32c_fn *own = s->crc;
        s->crc = td_crc32c__isal;
        for (int64_t i = 0; i < repeat; i++) {
            TD_TRY(step_crc(s));
        }
        s->crc = own;
    }
    *ns = scale * (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

/* The fastest pass that only reads is the roof. */
static void finish_data(td_bench *bench) {
    const data_state *s = bench->state;
    td_outcome *out = bench->outcome;
    if (out->n_companions == 0) {
        return;
    }
    double fastest = INFINITY;
    for (int64_t i = 0; i < out->companions[READING].n; i++) {
        fastest = fmin(fastest, out->companions[READING].samples_ns[i]);
    }
    snprintf(out->cost.mix, sizeof out->cost.mix, "read");
    out->cost.mix_gbps = (double)s->size / fastest;
    td_way_compare(out, READING, false, "share_beside");
    if (out->n_companions > ISA_L) {
        td_way_compare(out, ISA_L, false, "times_isal");
    }
}

static td_status setup_data(td_bench *bench) {
    data_state *s = bench->state = td_alloc_zero(sizeof *s);
    int64_t argument =
        bench->subject->param[0] < 0 ? bench->subject->param[1] : row_of(bench)->argument;
    TD_TRY(s ? row_of(bench)->setup(s, argument) : td_fail(TD_ENOMEM, "a data case"));
    add_companions(bench);
    return TD_OK;
}

static td_status verify_data(td_bench *bench) {
    return row_of(bench)->verify(bench, bench->state);
}

static td_status step_data(td_bench *bench) {
    const data_row *row = row_of(bench);
    if (row->region != NULL) {
        td_team_run(bench->team, row->region, bench->state);
        return TD_OK;
    }
    return row->step(bench->state);
}

static void cost_data(const td_bench *bench, td_cost *out) {
    row_of(bench)->cost(bench->state, out);
}

static void teardown_data(td_bench *bench) {
    data_state *s = bench->state;
    if (s->path[0]) {
        unlink(s->path);
    }
    for (int i = 0; i < CAPTIONS; i++) {
        td_free(s->captions[i]);
    }
    td_tokenizer_destroy(s->tokenizer);
    td_image_destroy(&s->picture);
    td_free(s->pixels);
    td_free(s->encoded);
    td_arena_destroy(&s->arena);
    td_free(s);
}

const td_workload td_workload_data = {
    .name = "data",
    .list = list_data,
    .fits = fits_data,
    .setup = setup_data,
    .verify = verify_data,
    .step = step_data,
    .beside = beside_data,
    .cost = cost_data,
    .finish = finish_data,
    .teardown = teardown_data,
};
