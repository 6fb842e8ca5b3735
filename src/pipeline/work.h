/* How much work a tensor is: for dividing runs into parts that take about equally long. */
#ifndef HT_PIPELINE_WORK_H
#define HT_PIPELINE_WORK_H

#include "pipeline/plan.h"

/* Nanoseconds of a core, about. It follows from the plan alone, and is the same on every machine. */
double ht__work_of(const struct ht__plan *plan, uint32_t item);

#endif
