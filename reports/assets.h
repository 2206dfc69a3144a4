/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TD_REPORTS_ASSETS_H
#define TD_REPORTS_ASSETS_H

#include "base/text.h"

typedef enum td_asset { TD_ASSET_CHART_JS, TD_ASSET_PAGE_JS, TD_ASSET_PAGE_CSS } td_asset;

void td_asset_append(td_text *text, td_asset asset);

#endif
