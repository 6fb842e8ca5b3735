/* What was done, or will be, as one JSON object. */
#ifndef HT_PIPELINE_REPORT_H
#define HT_PIPELINE_REPORT_H

#include "base/json_write.h"
#include "pipeline/rows_driver.h"

/* Members that an estimate adds to the report and to each output. */
struct ht__report_more {
    void (*put)(const void *ctx, struct ht__jw *w);
    void (*put_output)(const void *ctx, const struct ht__plan_output *output, struct ht__jw *w);
    const void *ctx;
};

/* result: NULL before the run. more: or NULL. */
HT_MUST_CHECK enum ht_err ht__report(const struct ht__plan *plan, const struct ht__stream_result *result,
                                     const struct ht__report_more *more, struct ht__buf *out, struct ht_diag *diag);

#endif
