/* SPDX-License-Identifier: Apache-2.0
 * Records as the sections read them: one plain struct a record, strings borrowed from the JSON.
 */
#ifndef TD_REPORTS_FACTS_H
#define TD_REPORTS_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "reports/record.h"

enum { TD_FACT_PARTS = 6 };

typedef struct td_fact {
    const char *id, *layout, *isa, *provider, *provider_version, *status, *reason, *unit, *command;
    char part[TD_FACT_PARTS][64]; /* the id split at '/': family, name, variant, shape ... */
    int n_parts;
    int ranks, workers;      /* from the layout's text, 0 when it has none */
    double value, low, high; /* low, high: 95 % interval of the median, in the value's unit */
    double median_ns, mad_ns, flops, bytes, samples;
    double steal_pct, switches, max_ulp;
    bool ok, own; /* own: provider is tandem */
    const char *check_method, *sha256;
    const json_t *ceilings, *ops, *json;
} td_fact;

typedef struct td_facts {
    const json_t *machine, *run; /* of the header; may be NULL */
    td_fact *rows;
    int n_rows;
    const char *ring; /* td_report_render's */
} td_facts;

td_status td_facts_create(const td_record_set *set, td_facts *out);
void td_facts_destroy(td_facts *facts);

/* The records of a run's directory as facts, which borrow from set: both are to be freed. A line
 * that was cut off is told. */
td_status td_facts_read(const char *directory, td_record_set *set, td_facts *out);

/* True when the id starts with the family, e.g. "kernel". */
bool td_fact_is(const td_fact *fact, const char *family);

/* The library with the greatest value on the same case and layout, or NULL. */
const td_fact *td_fact_peer(const td_facts *facts, const td_fact *own);

/* The value (or share) of a named ceiling of the record; NaN when it has none. The first when name
 * is NULL. */
double td_fact_ceiling(const td_fact *fact, const char *name);
double td_fact_share(const td_fact *fact, const char *name);
const char *td_fact_ceiling_name(const td_fact *fact);

/* Whether the ceiling that binds it was disturbed: it may be too low, and the share too high. */
bool td_fact_ceiling_is_disturbed(const td_fact *fact);

/* A number of the record itself ("mfu", "busbw"); NaN when absent. */
double td_fact_number(const td_fact *fact, const char *name);

/* The number in a part like "m512-n64" after a letter, or of "16MiB" as bytes; NaN when there is
 * none. */
double td_fact_dimension(const char *part, char letter);
double td_fact_message_bytes(const td_fact *fact);

/* Members of a JSON object by path "cpu.brand", for the machine line. */
const char *td_json_text(const json_t *object, const char *path, const char *otherwise);
double td_json_number(const json_t *object, const char *path);

#endif
