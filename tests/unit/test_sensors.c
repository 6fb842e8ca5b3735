/* Readings: of files under a root of the test's own, of a library of NVIDIA's shape, of recorded traces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/artifacts/dir.h"
#include "service/levels/sensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/halftone-sensors-XXXXXX";

static void put(const char *path, const char *text)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return dir_remove(root) ? 0 : -1;
}

static json_t *read_with(const char *nvml)
{
    struct sensors_settings settings = {.root = root, .nvml = nvml};
    char why[300];
    struct sensors *s = sensors_open(&settings, why, sizeof why);
    assert_non_null(s);
    json_t *reading = sensors_read(s);
    sensors_close(&s);
    assert_non_null(reading);
    return reading;
}

static void expect(const json_t *o, const char *wanted)
{
    json_t *w = json_loads(wanted, 0, NULL);
    assert_non_null(w);
    if (!json_equal(o, w)) fail_msg("%s", json_dumps(o, JSON_SORT_KEYS | JSON_ENCODE_ANY));
    json_decref(w);
}

static void nothing_is_there(void **state)
{
    json_t *r = read_with("libdoes-not-exist.so");
    (void)state;
    expect(json_object_get(r, "gpus"), "[]");
    expect(json_object_get(r, "host"),
           "{\"memory_total_bytes\": null, \"memory_available_bytes\": null, \"load\": null, \"temperature\": null,"
           " \"pressure\": {\"memory\": null, \"cpu\": null, \"io\": null}}");
    json_decref(r);
}

static void files_of_the_system(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:   1 kB\nMemAvailable:    400 kB\n");
    put("/proc/loadavg", "x\n");
    put("/proc/pressure/memory",
        "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=0.00 avg60=0 avg300=0 total=0\n");
    put("/proc/pressure/io", "nonsense\n");
    put("/sys/class/thermal/thermal_zone0/temp", "45000\n");
    put("/sys/class/thermal/thermal_zone1/temp", "61500\n");
    put("/sys/class/thermal/thermal_zone2/temp", "what\n");
    put("/sys/class/thermal/cooling_device0/temp", "99000\n");
    put("/sys/class/drm/card0/device/mem_info_vram_total", "8000\n");
    put("/sys/class/drm/card0/device/mem_info_vram_used", "6000\n");
    put("/sys/class/drm/card0/device/gpu_busy_percent", "30\n");
    put("/sys/class/drm/card0/device/hwmon/hwmon3/temp1_input", "50000\n");
    put("/sys/class/drm/card0/device/hwmon/hwmon3/temp2_input", "77000\n");
    put("/sys/class/drm/card0-DP-1/device/mem_info_vram_total", "8000\n");
    put("/sys/class/drm/card1/device/mem_info_vram_total", "100\n");
    put("/sys/class/drm/card1/device/mem_info_vram_used", "101\n");
    put("/sys/class/drm/card2/device/vendor", "0x8086\n");
    json_t *r = read_with("libdoes-not-exist.so"), *gpus = json_object_get(r, "gpus"), *one;
    expect(
        json_object_get(r, "host"),
        "{\"memory_total_bytes\": 1024000, \"memory_available_bytes\": 409600, \"load\": null, \"temperature\": 61.5,"
        " \"pressure\": {\"memory\": 12.5, \"cpu\": null, \"io\": null}}");
    assert_int_equal(json_array_size(gpus), 2);
    one =
        json_array_get(gpus, strcmp(json_string_value(json_object_get(json_array_get(gpus, 0), "name")), "card0") != 0);
    expect(
        one,
        "{\"name\": \"card0\", \"source\": \"amdgpu\", \"memory_used_bytes\": 6000, \"memory_total_bytes\": 8000, \"load\": 0.3,"
        " \"temperature\": 77.0, \"slowed\": null}");
    json_decref(r);
}

/* The smaller of the machine and the group; what is cached and can go is free. */
static void control_groups(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    400 kB\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    json_t *r = read_with("none");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_total_bytes")), 1024000);
    json_decref(r);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "450000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 3\ninactive_file 1\ntotal_inactive_file 50000\n");
    r = read_with("none");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_total_bytes")), 500000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_available_bytes")), 100000);
    json_decref(r);
    put("/sys/fs/cgroup/memory.max", "max\n");
    r = read_with("none");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_total_bytes")), 500000);
    json_decref(r);
    put("/sys/fs/cgroup/memory.max", "300000\n");
    put("/sys/fs/cgroup/memory.current", "290000\n");
    put("/sys/fs/cgroup/memory.stat", "inactive_file 5000\n");
    r = read_with("none");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "host"), "memory_available_bytes")), 15000);
    json_decref(r);
}

static void library_of_cards(void **state)
{
    const char *build = getenv("HT_BUILD_ROOT");
    char path[600];
    (void)state;
    assert_non_null(build);
    snprintf(path, sizeof path, "%s/tests/libfake_nvml.so", build);
    assert_int_equal(access(path, R_OK), 0);
    setenv("FAKE_NVML", "broken", 1);
    json_t *r = read_with(path), *gpus, *one;
    size_t i;
    json_array_foreach(json_object_get(r, "gpus"), i, one)
        assert_string_not_equal(json_string_value(json_object_get(one, "source")), "nvml");
    json_decref(r);
    unsetenv("FAKE_NVML");
    r = read_with(path);
    gpus = json_object_get(r, "gpus");
    expect(
        json_array_get(gpus, 0),
        "{\"name\": \"New\", \"source\": \"nvml\", \"memory_used_bytes\": 6442450944, \"memory_total_bytes\": 8589934592,"
        " \"load\": 0.87, \"temperature\": 71, \"slowed\": true}");
    expect(
        json_array_get(gpus, 1),
        "{\"name\": \"Old\", \"source\": \"nvml\", \"memory_used_bytes\": 6442450944, \"memory_total_bytes\": 8589934592,"
        " \"load\": null, \"temperature\": 64, \"slowed\": false}");
    expect(
        json_array_get(gpus, 2),
        "{\"name\": \"NVIDIA card\", \"source\": \"nvml\", \"memory_used_bytes\": null, \"memory_total_bytes\": null,"
        " \"load\": null, \"temperature\": null, \"slowed\": null}");
    json_decref(r);
}

static void traces(void **state)
{
    static const char *const wrong[] = {"",
                                        "{",
                                        "[1]",
                                        "{}",
                                        "{\"time\": \"1\"}",
                                        "{\"time\": 2}\n{\"time\": 1}",
                                        "{\"time\": 1}\nx",
                                        "{\"time\": 1, \"time\": 2}"};
    char path[600], why[300];
    struct sensors_settings settings = {.root = root, .trace = path};
    (void)state;
    snprintf(path, sizeof path, "%s/trace", root);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put("/trace", wrong[i]);
        assert_null(sensors_open(&settings, why, sizeof why));
        assert_non_null(strstr(why, "trace"));
    }
    unlink(path);
    assert_null(sensors_open(&settings, why, sizeof why));
    put("/trace", "{\"time\": 1, \"host\": {}}\n{\"time\": 5}\n");
    struct sensors *s = sensors_open(&settings, why, sizeof why);
    assert_non_null(s);
    assert_true(sensors_is_trace(s));
    json_t *one = sensors_read(s), *two = sensors_read(s);
    expect(one, "{\"time\": 1, \"host\": {}}");
    expect(two, "{\"time\": 5}");
    assert_null(sensors_read(s));
    json_decref(one), json_decref(two);
    sensors_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_there), cmocka_unit_test(files_of_the_system),
                                       cmocka_unit_test(control_groups), cmocka_unit_test(library_of_cards),
                                       cmocka_unit_test(traces)};
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
