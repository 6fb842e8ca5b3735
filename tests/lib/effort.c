#include "effort.h"

#include <stdlib.h>

long effort(long little, long usual, long all)
{
    const char *text = getenv("HT_EFFORT");
    int n = text ? atoi(text) : 1;
    return n <= 0 ? little : n == 1 ? usual : all;
}
