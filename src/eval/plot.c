#include "eval/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 360, LEFT = 76, RIGHT = 150, TOP = 14, BOTTOM = 48, MOST_TICKS = 12 };
enum { MOST_NAMES = 128, LINE = 13 }; /* with their points; pixels a line of text */

struct axis {
    double low, high; /* of the value, or of its logarithm */
    bool log;
    double ticks[MOST_TICKS];
    int n_ticks;
};

void ht__html_text(struct ht__buf *out, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '&'   ? "&amp;"
                             : *text == '<' ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity)
            ht__buf_str(out, entity);
        else
            ht__buf_put(out, text, 1);
    }
}

static bool usable(const struct axis *a, double v)
{
    return isfinite(v) && (!a->log || v > 0);
}

/* 1, 2 or 5 times a power of ten: four to eight of them fit. */
static double round_step(double span)
{
    double raw = span / 6, power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static void plan_axis(struct axis *a, bool log, const struct ht__plot *plot, bool x)
{
    *a = (struct axis){.low = INFINITY, .high = -INFINITY, .log = log};
    for (size_t s = 0; s < plot->n; s++)
        for (size_t i = 0; i < plot->series[s].n; i++) {
            double v = x ? plot->series[s].x[i] : plot->series[s].y[i],
                   other = x ? plot->series[s].y[i] : plot->series[s].x[i];
            if (!usable(a, v) || !isfinite(other)) continue;
            if (log) v = log10(v);
            a->low = v < a->low ? v : a->low;
            a->high = v > a->high ? v : a->high;
        }
    if (!(a->low <= a->high)) a->low = 0, a->high = 1;
    double margin = a->high > a->low ? (a->high - a->low) * 0.04 : log ? 0.5 : fabs(a->low) * 0.5 + 0.5;
    if (!log && a->low >= 0 && a->low < (a->high - a->low) * 0.5) a->low = margin; /* a zero near by is shown */
    a->low -= margin;
    a->high += margin;
    double step = round_step(a->high - a->low);
    if (log && step < 1) step = a->high - a->low > 1.5 ? 1 : 0.30103; /* whole decades, or factors of two */
    for (double t = ceil(a->low / step) * step; t <= a->high && a->n_ticks < MOST_TICKS; t += step)
        a->ticks[a->n_ticks++] = fabs(t) < step * 1e-9 ? 0 : t;
}

static double x_at(const struct axis *a, double v)
{
    return LEFT + ((a->log ? log10(v) : v) - a->low) / (a->high - a->low) * (WIDTH - LEFT - RIGHT);
}

static double y_at(const struct axis *a, double v)
{
    return HEIGHT - BOTTOM - ((a->log ? log10(v) : v) - a->low) / (a->high - a->low) * (HEIGHT - TOP - BOTTOM);
}

static void put_axes(const struct ht__plot *plot, const struct axis *x, const struct axis *y, struct ht__buf *out)
{
    for (int i = 0; i < x->n_ticks; i++) {
        double v = x->log ? pow(10, x->ticks[i]) : x->ticks[i], at = x_at(x, v);
        ht__buf_printf(out,
                       "<path class=grid d='M%.1f %dV%d'/><text class=tick x=%.1f y=%d "
                       "text-anchor=middle>%.3g</text>",
                       at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 16, v);
    }
    for (int i = 0; i < y->n_ticks; i++) {
        double v = y->log ? pow(10, y->ticks[i]) : y->ticks[i], at = y_at(y, v);
        ht__buf_printf(out,
                       "<path class=grid d='M%d %.1fH%d'/><text class=tick x=%d y=%.1f "
                       "text-anchor=end>%.3g</text>",
                       LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4, v);
    }
    ht__buf_printf(out, "<text x=%d y=%d text-anchor=middle>", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    ht__html_text(out, plot->x_label);
    ht__buf_printf(out, "</text><text transform='translate(14 %d)rotate(-90)' text-anchor=middle>",
                   (TOP + HEIGHT - BOTTOM) / 2);
    ht__html_text(out, plot->y_label);
    ht__buf_str(out, "</text>");
}

static void put_name(const struct ht__series *s, double at_x, double at_y, struct ht__buf *out)
{
    ht__buf_printf(out, "<text class=name x=%.1f y=%.1f>", at_x, at_y + 4);
    ht__html_text(out, s->name);
    ht__buf_str(out, "</text>");
}

/* Places the names of points so that they do not cover each other. */
struct names {
    struct name {
        double x, y, width;
    } placed[MOST_NAMES];
    int n;
};

static bool is_free(const struct names *names, const struct name *name)
{
    for (int i = 0; i < names->n; i++) {
        const struct name *o = &names->placed[i];
        if (fabs(o->y - name->y) < LINE && name->x < o->x + o->width && o->x < name->x + name->width) return false;
    }
    return true;
}

static void occupy(struct names *names, struct name name)
{
    if (names->n < MOST_NAMES) names->placed[names->n++] = name;
}

/* No name may cover a point. */
static void occupy_points(struct names *names, const struct ht__plot *plot, const struct axis *x, const struct axis *y)
{
    for (size_t s = 0; s < plot->n; s++)
        for (size_t i = 0; plot->series[s].points && i < plot->series[s].n; i++) {
            double v = plot->series[s].x[i], w = plot->series[s].y[i];
            if (usable(x, v) && usable(y, w)) occupy(names, (struct name){x_at(x, v) - 8, y_at(y, w), 16});
        }
}

/* Right of the point, left of it, or as little above or below as is free. */
static void place_name(struct names *names, const struct ht__series *s, double x, double y, struct ht__buf *out)
{
    double width = 6.8 * (double)strlen(s->name);
    struct name name = {x + 11, y, width};
    for (int step = 1; step < 40 && (name.x + width > WIDTH - 2 || !is_free(names, &name)); step++) {
        int away = step / 4 * (step % 4 < 2 ? -1 : 1);
        name = (struct name){step % 2 ? x - 11 - width : x + 11, y + away * (LINE / 2.0), width};
    }
    occupy(names, name);
    if (fabs(name.y - y) > LINE)
        ht__buf_printf(out, "<path class=grid d='M%.1f %.1fL%.1f %.1f'/>", x, y, name.x < x ? name.x + width : name.x,
                       name.y);
    put_name(s, name.x, name.y, out);
}

/* A point can be reached with the keyboard, and says what it is. */
static void put_points(struct names *names, const struct ht__series *s, const struct axis *x, const struct axis *y,
                       struct ht__buf *out)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!usable(x, s->x[i]) || !usable(y, s->y[i])) continue;
        double at_x = x_at(x, s->x[i]), at_y = y_at(y, s->y[i]);
        ht__buf_printf(out, "<g tabindex=0 role=img class=c%d aria-label=\"", s->colour);
        ht__html_text(out, s->name);
        ht__buf_printf(out, ": %.4g, %.4g\">", s->x[i], s->y[i]);
        if (s->marked) ht__buf_printf(out, "<circle class=ring cx=%.1f cy=%.1f r=8 />", at_x, at_y);
        ht__buf_printf(out, "<circle cx=%.1f cy=%.1f r=4 />", at_x, at_y);
        place_name(names, s, at_x, at_y, out);
        ht__buf_str(out, "</g>");
    }
}

static void put_line(const struct ht__series *s, const struct axis *x, const struct axis *y, size_t index,
                     struct ht__buf *out)
{
    bool pen = false;
    ht__buf_printf(out, "<g tabindex=0 role=img class=c%d aria-label=\"", s->colour);
    ht__html_text(out, s->name);
    ht__buf_str(out, "\"><path class=line d='");
    for (size_t i = 0; i < s->n; i++) {
        if (!usable(x, s->x[i]) || !usable(y, s->y[i])) continue;
        ht__buf_printf(out, "%c%.1f %.1f", pen ? 'L' : 'M', x_at(x, s->x[i]), y_at(y, s->y[i]));
        pen = true;
    }
    ht__buf_str(out, "'/>");
    int row = TOP + 10 + 17 * (int)index;
    ht__buf_printf(out, "<path class=line d='M%d %dh16'/>", WIDTH - RIGHT + 10, row);
    put_name(s, WIDTH - RIGHT + 30, row, out);
    ht__buf_str(out, "</g>");
}

void ht__plot_put(const struct ht__plot *plot, struct ht__buf *out)
{
    struct axis x, y;
    struct names names = {.n = 0};
    plan_axis(&x, plot->log_x, plot, true);
    plan_axis(&y, plot->log_y, plot, false);
    ht__buf_str(out, "<figure><figcaption>");
    ht__html_text(out, plot->title);
    ht__buf_printf(out, "</figcaption><svg viewBox='0 0 %d %d' role=group aria-label=\"", WIDTH, HEIGHT);
    ht__html_text(out, plot->title);
    ht__buf_str(out, "\">");
    occupy_points(&names, plot, &x, &y);
    put_axes(plot, &x, &y, out);
    for (size_t i = 0; i < plot->n; i++)
        if (plot->series[i].points)
            put_points(&names, &plot->series[i], &x, &y, out);
        else
            put_line(&plot->series[i], &x, &y, i, out);
    ht__buf_str(out, "</svg></figure>\n");
}
