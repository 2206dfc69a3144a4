/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/simgrid.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A network in which a message takes its latency and its bytes and nothing else: no factors fitted
 * to a machine, no windows of TCP, no acknowledgements in the way; the processor's time is not
 * counted, messages of any size are sent at once, and a message costs both sides what o and O say.
 * What happens within a nanosecond happens at once, as in the model: where several messages begin
 * together, an even share makes more of any lead, and the rounding of a time would decide.
 */
static const char options_form[] =
    "--cfg=network/model:CM02\n--cfg=network/TCP-gamma:0\n--cfg=network/crosstraffic:0\n"
    "--cfg=network/latency-factor:1\n--cfg=network/bandwidth-factor:1\n--cfg=network/weight-S:0\n"
    "--cfg=surf/precision:1e-9\n--cfg=smpi/simulate-computation:no\n--cfg=smpi/wtime:0\n"
    "--cfg=smpi/async-small-thresh:2000000000\n--cfg=smpi/send-is-detached-thresh:2000000000\n"
    "--cfg=smpi/ois:0:%.9e:%.9e\n--cfg=smpi/or:0:%.9e:%.9e\n--log=root.thres:critical\n";

static const char head_form[] = "<?xml version='1.0'?>\n"
                                "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
                                "<platform version=\"4.1\">\n";

/* Half of the latency on the link of each side. */
static const char flat_form[] =
    "  <cluster id=\"machine\" prefix=\"rank-\" suffix=\"\" radical=\"0-%d\" speed=\"1Gf\"\n"
    "           bw=\"%.9eBps\" lat=\"%.9es\" sharing_policy=\"SPLITDUPLEX\"/>\n";

/* Of a hierarchy every route is written. */
enum { MOST_ROUTED = 256 };

static td_status check(const td_network *network) {
    const td_network_level *first = &network->level[0];
    bool fits = !(network->S > 0 || network->copy > 0 || network->reduce > 0);
    for (int i = 0; i < network->levels; i++) {
        const td_network_level *l = &network->level[i];
        fits = fits && l->G > 0 && !(l->g > 0) && l->o <= first->o && l->o >= first->o &&
               l->O <= first->O && l->O >= first->O && (network->fair || !l->shared);
    }
    if (!fits) {
        return td_fail(TD_EUSAGE,
                       "SimGrid has no g, no cost of a copy or a sum, another rendezvous, and "
                       "shares a link evenly; expected L, G, and the same o and O at every level, "
                       "shared with --sharing fair only, and --rendezvous 0 --copy 0 --reduce 0");
    }
    int64_t ranks = td_network_ranks(network);
    return network->levels == 1 || ranks <= MOST_ROUTED
               ? TD_OK
               : td_fail(TD_EUSAGE,
                         "a hierarchy of %lld ranks; expected %d at most, for each pair has its "
                         "route",
                         (long long)ranks, MOST_ROUTED);
}

static td_status open_file(const char *directory, const char *name, FILE **out) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    *out = fopen(path, "we");
    return *out != NULL ? TD_OK : td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
}

static td_status close_file(FILE *file, const char *directory) {
    bool good = !ferror(file);
    return fclose(file) == 0 && good
               ? TD_OK
               : td_fail(TD_EIO, "write to %s: %s", directory, strerror(errno));
}

/* How many ranks there are in one unit of a level. */
static int inside(const td_network *network, int level) {
    int ranks = 1;
    for (int i = level + 1; i < network->levels; i++) {
        ranks *= network->level[i].units;
    }
    return ranks;
}

static void write_links(const td_network *network, int ranks, FILE *file) {
    const double ns = 1e-9;
    for (int i = 0; i < network->levels; i++) {
        const td_network_level *l = &network->level[i];
        int links = l->shared ? ranks / inside(network, i) : ranks;
        for (int link = 0; link < links; link++) {
            for (int in = 0; in < 2; in++) {
                fprintf(file,
                        "    <link id=\"%s-%d-%s\" bandwidth=\"%.9eBps\" latency=\"%.9es\"/>\n",
                        l->name, link, in ? "in" : "out", 1 / (l->G * ns), l->L / 2 * ns);
            }
        }
    }
}

/* Over the links of the outermost level at which the two are in different units. */
static void write_route(const td_network *network, int from, int to, FILE *file) {
    int level = 0;
    while (from / inside(network, level) == to / inside(network, level)) {
        level++;
    }
    const td_network_level *l = &network->level[level];
    int one = l->shared ? inside(network, level) : 1;
    fprintf(file,
            "    <route src=\"rank-%d\" dst=\"rank-%d\" symmetrical=\"NO\"><link_ctn "
            "id=\"%s-%d-out\"/><link_ctn id=\"%s-%d-in\"/></route>\n",
            from, to, l->name, from / one, l->name, to / one);
}

static void write_machine(const td_network *network, FILE *file) {
    const double ns = 1e-9;
    const td_network_level *l = &network->level[0];
    int ranks = (int)td_network_ranks(network);
    fputs(head_form, file);
    if (network->levels == 1) {
        fprintf(file, flat_form, ranks - 1, 1 / (l->G * ns), l->L / 2 * ns);
    } else {
        fprintf(file, "  <zone id=\"machine\" routing=\"Full\">\n");
        for (int rank = 0; rank < ranks; rank++) {
            fprintf(file, "    <host id=\"rank-%d\" speed=\"1Gf\"/>\n", rank);
        }
        write_links(network, ranks, file);
        for (int from = 0; from < ranks; from++) {
            for (int to = 0; to < ranks; to++) {
                if (from != to) {
                    write_route(network, from, to, file);
                }
            }
        }
        fprintf(file, "  </zone>\n");
    }
    fprintf(file, "</platform>\n");
}

td_status td_simgrid_write(const td_network *network, const char *directory) {
    const td_network_level *l = &network->level[0];
    const double ns = 1e-9;
    FILE *file;
    TD_TRY(check(network));
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        return td_fail(TD_EIO, "make %s: %s", directory, strerror(errno));
    }
    TD_TRY(open_file(directory, "platform.xml", &file));
    write_machine(network, file);
    TD_TRY(close_file(file, directory));
    TD_TRY(open_file(directory, "options", &file));
    fprintf(file, options_form, l->o * ns, l->O * ns, l->o * ns, l->O * ns);
    TD_TRY(close_file(file, directory));
    TD_TRY(open_file(directory, "hosts", &file));
    for (int i = 0; i < td_network_ranks(network); i++) {
        fprintf(file, "rank-%d\n", i);
    }
    return close_file(file, directory);
}
