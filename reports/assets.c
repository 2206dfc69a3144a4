/* SPDX-License-Identifier: Apache-2.0
 * The page's script, style and Chart.js, as bytes in the program.
 */
#include "reports/assets.h"

#define EMBED(symbol, path)                                                                        \
    __asm__(".pushsection .rodata\n"                                                               \
            ".global " #symbol "_first, " #symbol "_last\n"                                        \
            ".type " #symbol "_first, @object\n"                                                   \
            ".type " #symbol "_last, @object\n" #symbol "_first:\n"                                \
            ".incbin \"" path "\"\n" #symbol "_last:\n"                                            \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char symbol##_first[], symbol##_last[]

EMBED(td_asset_chart_js, TD_CHART_JS);
EMBED(td_asset_page_js, TD_PAGE_JS);
EMBED(td_asset_page_css, TD_PAGE_CSS);

void td_asset_append(td_text *text, td_asset asset) {
    const char *const first[] = {td_asset_chart_js_first, td_asset_page_js_first,
                                 td_asset_page_css_first};
    const char *const last[] = {td_asset_chart_js_last, td_asset_page_js_last,
                                td_asset_page_css_last};
    td_text_append(text, first[asset], (size_t)(last[asset] - first[asset]));
}
