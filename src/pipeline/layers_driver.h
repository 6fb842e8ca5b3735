/*
 * Quantizing layer by layer: the calibration text's activations are carried through the float model and, for every output
 * that is made so, through the model as it is quantized so far. At each site (model/slot.h) of a layer the method sees
 * both, chooses the codes of the site's matrices, and the quantized stream goes on with them. When a layer is done its
 * rows are written by the rows driver, for all outputs together.
 *
 * A resumed run reads what an earlier one wrote of whole layers, and goes on behind them to the same bytes.
 */
#ifndef HT_PIPELINE_LAYERS_DRIVER_H
#define HT_PIPELINE_LAYERS_DRIVER_H

#include "pipeline/rows_driver.h"

/* Is the output made so? */
bool ht__layers_output(const struct ht__plan *plan, const struct ht__plan_output *output);
bool ht__layers_wanted(const struct ht__plan *plan);
/* Is a layer chosen for what those before it lost, so that it comes after them? Not by statistics that are kept. */
bool ht__layers_in_turn(const struct ht__plan *plan);
/* Is an output's item chosen as a whole, all of its rows with what is known of its site? */
bool ht__layers_whole(const struct ht__plan *plan, const struct ht__plan_output *output, uint32_t item);
/* Chooses and writes the tensors of the layers and of the output matrix; the others are left to ht__stream_items. */
HT_MUST_CHECK enum ht_err ht__layers_run(struct ht__plan *plan, const struct ht__journal *journal,
                                         struct ht__stream *stream, struct ht_diag *diag);
/* What running it takes at most; 0 where it is not wanted. */
HT_MUST_CHECK enum ht_err ht__layers_memory(const struct ht__plan *plan, uint64_t *total, struct ht_diag *diag);

#endif
