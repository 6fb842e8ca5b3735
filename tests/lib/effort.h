/* How much of what could be repeated for hours a test repeats. HT_EFFORT says it: 0 beside a sanitizer, where everything
 * takes many times as long; 1 otherwise; 2 in the long tests. */
#ifndef HT_TESTS_LIB_EFFORT_H
#define HT_TESTS_LIB_EFFORT_H

long effort(long little, long usual, long all);

#endif
