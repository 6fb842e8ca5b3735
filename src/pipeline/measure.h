/* quantize --measure: what each output lost against the source, known before anything is published. */
#ifndef HT_PIPELINE_MEASURE_H
#define HT_PIPELINE_MEASURE_H

#include "pipeline/plan.h"

/* What is published with the outputs. */
struct ht__measured {
    struct ht__buf card, html; /* a Markdown model card; a page, if one was asked for */
    char card_path[4096];
    struct ht__output card_file, html_file;
};

void ht__measured_init(struct ht__measured *measured, const struct ht__alloc *alloc);
void ht__measured_close(struct ht__measured *measured);

/* What measuring takes, with `fixed` bytes that the plan holds; sets plan->measure_matrices. */
HT_MUST_CHECK enum ht_err ht__measure_memory(struct ht__plan *plan, uint64_t fixed, uint64_t *total,
                                             struct ht_diag *diag);
/* Before the work: the engine runs the architecture, and the text is long
 * enough. */
HT_MUST_CHECK enum ht_err ht__measure_check(const struct ht__plan *plan, struct ht_diag *diag);
/* Runs the outputs, which are complete but not published, beside the source. Fills output->quality.
 * An output beyond a limit is HT_ERR_VERIFY. */
HT_MUST_CHECK enum ht_err ht__measure_run(struct ht__plan *plan, struct ht__measured *measured, struct ht_diag *diag);
/* Writes card and page under temporary names; then, after the outputs, publishes them. */
HT_MUST_CHECK enum ht_err ht__measured_write(struct ht__measured *measured, const char *html, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__measured_publish(struct ht__measured *measured, struct ht_diag *diag);

#endif
