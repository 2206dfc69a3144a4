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
 */
static const char options_form[] =
    "--cfg=network/model:CM02\n--cfg=network/TCP-gamma:0\n--cfg=network/crosstraffic:0\n"
    "--cfg=network/latency-factor:1\n--cfg=network/bandwidth-factor:1\n--cfg=network/weight-S:0\n"
    "--cfg=surf/precision:1e-12\n--cfg=smpi/simulate-computation:no\n--cfg=smpi/wtime:0\n"
    "--cfg=smpi/async-small-thresh:2000000000\n--cfg=smpi/send-is-detached-thresh:2000000000\n"
    "--cfg=smpi/ois:0:%.9e:%.9e\n--cfg=smpi/or:0:%.9e:%.9e\n--log=root.thres:critical\n";

/* Half of the latency on the link of each side. */
static const char platform_form[] =
    "<?xml version='1.0'?>\n"
    "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
    "<platform version=\"4.1\">\n"
    "  <cluster id=\"machine\" prefix=\"rank-\" suffix=\"\" radical=\"0-%d\" speed=\"1Gf\"\n"
    "           bw=\"%.9eBps\" lat=\"%.9es\" sharing_policy=\"SPLITDUPLEX\"/>\n"
    "</platform>\n";

static td_status check(const td_network *network) {
    const td_network_level *l = &network->level[0];
    if (network->levels > 1 || l->shared || l->g > 0 || network->S > 0 || network->copy > 0 ||
        network->reduce > 0 || !(l->G > 0)) {
        return td_fail(TD_EUSAGE,
                       "SimGrid has no g, no shared link that is taken in turns, no cost of a copy "
                       "or a sum and another rendezvous; expected one level with L, o, O and G, "
                       "and --rendezvous 0 --copy 0 --reduce 0");
    }
    return TD_OK;
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

td_status td_simgrid_write(const td_network *network, const char *directory) {
    const td_network_level *l = &network->level[0];
    const double ns = 1e-9;
    FILE *file;
    TD_TRY(check(network));
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        return td_fail(TD_EIO, "make %s: %s", directory, strerror(errno));
    }
    TD_TRY(open_file(directory, "platform.xml", &file));
    fprintf(file, platform_form, l->units - 1, 1 / (l->G * ns), l->L / 2 * ns);
    TD_TRY(close_file(file, directory));
    TD_TRY(open_file(directory, "options", &file));
    fprintf(file, options_form, l->o * ns, l->O * ns, l->o * ns, l->O * ns);
    TD_TRY(close_file(file, directory));
    TD_TRY(open_file(directory, "hosts", &file));
    for (int i = 0; i < l->units; i++) {
        fprintf(file, "rank-%d\n", i);
    }
    return close_file(file, directory);
}
