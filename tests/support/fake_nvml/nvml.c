/* A libnvidia-ml.so.1 that reads its GPUs from a text file, for the real pynvml to load.
 *
 * $FAKE_NVML names the file; it is read anew at every call, so that a test can lose a GPU or
 * start a foreign process while a supervisor watches. One GPU a line, words of key=value:
 *
 *   uuid=GPU-0 name=NVIDIA_H800 used=1024 reserved=16 total=85899345920 util=7 power=312000
 *   limit=700000 temp=61 clock=1755 throttle=0x44 ecc=0 xid=31,79@2 pids=4242:1024,4243:1
 *   lost=1 mig=2 stall=1 alias=1
 *
 * In a job of a cluster the file of that name with .NODE behind it counts, where there is one.
 * `_` in a name is a space. A reading whose key is missing is NOT_SUPPORTED. `xid` lists the
 * errors so far, `@` the MIG instance struck: those that a test adds after the GPU was registered
 * are the events; with `alias` they name the GPU by another handle. A line `init=9` makes nvmlInit fail with that code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15 };
enum { GPUS = 16, SLOTS = 7, LINE = 1024 };

typedef struct { int gpu, slot; } Handle; /* slot 0 is the board, 1.. its MIG instances */
static Handle handles[GPUS][SLOTS + 1];

/* Copies line number `wanted` that starts with `prefix`; returns whether there is one. */
static int line_of(const char *prefix, int wanted, char *line) {
    const char *path = getenv("FAKE_NVML");
    const char *node = getenv("SLURMD_NODENAME");
    char of_node[4096];
    FILE *file = NULL;
    if (path && node) {
        snprintf(of_node, sizeof of_node, "%s.%s", path, node);
        file = fopen(of_node, "r");
    }
    if (path && !file) file = fopen(path, "r");
    int found = 0;
    while (file && !found && fgets(line, LINE, file))
        found = !strncmp(line, prefix, strlen(prefix)) && wanted-- == 0;
    if (file) fclose(file);
    if (found) line[strcspn(line, "\n")] = 0;
    return found;
}

/* Copies the value of ` key=` of a GPU; returns whether it has one. */
static int word(int gpu, const char *key, char *value) {
    char line[LINE], want[64], *save = NULL;
    if (!line_of("uuid=", gpu, line)) return 0;
    snprintf(want, sizeof want, "%s=", key);
    for (char *part = strtok_r(line, " ", &save); part; part = strtok_r(NULL, " ", &save))
        if (!strncmp(part, want, strlen(want))) {
            strcpy(value, part + strlen(want));
            return 1;
        }
    return 0;
}

static long long number(int gpu, const char *key, long long otherwise) {
    char value[LINE];
    return word(gpu, key, value) ? strtoll(value, NULL, 0) : otherwise;
}

static int alive(Handle *handle) {
    while (number(handle->gpu, "stall", 0)) usleep(20000);
    return number(handle->gpu, "lost", 0) ? LOST : SUCCESS;
}

static int reading(Handle *handle, const char *key, long long *value) {
    int status = alive(handle);
    if (status) return status;
    *value = number(handle->gpu, key, -1);
    return *value < 0 ? UNSUPPORTED : SUCCESS;
}

static int reading_uint(Handle *handle, const char *key, unsigned *value) {
    long long wide = 0;
    int status = reading(handle, key, &wide);
    *value = (unsigned)wide;
    return status;
}

int nvmlInitWithFlags(unsigned flags) {
    char line[LINE];
    (void)flags;
    return line_of("init=", 0, line) ? atoi(line + 5) : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "fake error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, "570.86.15") < 0; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { return snprintf(text, size, "12.570.86.15") < 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { return *version = 12080, SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    char line[LINE];
    for (*count = 0; *count < GPUS && line_of("uuid=", (int)*count, line); ++*count) {}
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle **handle) {
    char uuid[LINE];
    if (index >= GPUS || !word((int)index, "uuid", uuid)) return INVALID;
    handles[index][0] = (Handle){(int)index, 0};
    *handle = &handles[index][0];
    return alive(*handle);
}
int nvmlDeviceGetMigMode(Handle *handle, unsigned *current, unsigned *pending) {
    *current = *pending = number(handle->gpu, "mig", 0) > 0;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(Handle *handle, unsigned *count) {
    (void)handle;
    return *count = SLOTS, SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Handle *board, unsigned slot, Handle **handle) {
    if (slot >= (unsigned)number(board->gpu, "mig", 0)) return NOT_FOUND;
    handles[board->gpu][slot + 1] = (Handle){board->gpu, (int)slot + 1};
    *handle = &handles[board->gpu][slot + 1];
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Handle *handle, unsigned *id) {
    return handle->slot ? (*id = (unsigned)handle->slot, SUCCESS) : UNSUPPORTED;
}
int nvmlDeviceGetUUID(Handle *handle, char *text, unsigned size) {
    char uuid[LINE];
    if (!word(handle->gpu, "uuid", uuid)) return INVALID;
    if (handle->slot) snprintf(text, size, "MIG-%s-%d", uuid, handle->slot);
    else snprintf(text, size, "%s", uuid);
    return SUCCESS;
}
int nvmlDeviceGetName(Handle *handle, char *text, unsigned size) {
    char name[LINE];
    if (!word(handle->gpu, "name", name)) strcpy(name, "Fake_GPU");
    for (char *c = name; *c; ++c) *c = *c == '_' ? ' ' : *c;
    snprintf(text, size, handle->slot ? "%s MIG 1g.10gb" : "%s", name);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Handle *handle, unsigned long long *info) {
    long long used = 0, total = 0;
    int status = reading(handle, "used", &used);
    if (!status) status = reading(handle, "total", &total);
    info[0] = total, info[1] = total - used, info[2] = used;
    return status;
}
int nvmlDeviceGetMemoryInfo_v2(Handle *handle, unsigned long long *info) {
    long long used = 0, total = 0, reserved = 0; /* info[0] holds the version */
    int status = reading(handle, "reserved", &reserved);
    if (!status) status = reading(handle, "used", &used);
    if (!status) status = reading(handle, "total", &total);
    info[1] = total, info[2] = reserved, info[3] = total - used, info[4] = used;
    return status;
}
int nvmlDeviceGetUtilizationRates(Handle *handle, unsigned *rates) {
    if (handle->slot) return UNSUPPORTED; /* as the real library does for an instance */
    rates[1] = 0;
    return reading_uint(handle, "util", &rates[0]);
}
int nvmlDeviceGetPowerUsage(Handle *handle, unsigned *milliwatts) {
    return handle->slot ? UNSUPPORTED : reading_uint(handle, "power", milliwatts);
}
int nvmlDeviceGetEnforcedPowerLimit(Handle *handle, unsigned *milliwatts) {
    return handle->slot ? UNSUPPORTED : reading_uint(handle, "limit", milliwatts);
}
int nvmlDeviceGetTemperature(Handle *handle, int sensor, unsigned *celsius) {
    return sensor ? INVALID : reading_uint(handle, "temp", celsius);
}
int nvmlDeviceGetClockInfo(Handle *handle, int clock, unsigned *megahertz) {
    return clock == 1 ? reading_uint(handle, "clock", megahertz) : INVALID;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Handle *handle, unsigned long long *bits) {
    return reading(handle, "throttle", (long long *)bits);
}
int nvmlDeviceGetTotalEccErrors(Handle *handle, int kind, int counter, unsigned long long *count) {
    return kind == 1 && counter == 0 ? reading(handle, "ecc", (long long *)count) : INVALID;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned instance, part; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Handle *handle, unsigned *count, Process *into) {
    char pids[LINE], *save = NULL;
    unsigned room = into ? *count : 0, found = 0;
    int status = alive(handle);
    if (status) return status;
    if (!word(handle->gpu, "pids", pids)) return *count = 0, SUCCESS;
    for (char *part = strtok_r(pids, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        char *colon = strchr(part, ':');
        if (found < room)
            into[found] = (Process){(unsigned)atoi(part), colon ? strtoull(colon + 1, NULL, 0) : ~0ull, 0, 0};
        ++found;
    }
    *count = found;
    return found > room ? TOO_SMALL : SUCCESS;
}

typedef struct { Handle *device; unsigned long long type, code; unsigned instance, part; } Event;
enum { XID = 8, UNWATCHED = -1 };
static int told[GPUS]; /* events of each GPU that were delivered; UNWATCHED before it is registered */
static Handle aliases[GPUS];

/* Copies event number `wanted` of a GPU; returns whether there is one. */
static int event_of(int gpu, int wanted, Event *event) {
    char list[LINE], *save = NULL;
    if (!word(gpu, "xid", list)) return 0;
    for (char *part = strtok_r(list, ",", &save); part; part = strtok_r(NULL, ",", &save))
        if (wanted-- == 0) {
            char *at = strchr(part, '@');
            Handle *device = number(gpu, "alias", 0) ? &aliases[gpu] : &handles[gpu][0];
            aliases[gpu] = (Handle){gpu, 0};
            *event = (Event){device, XID, strtoull(part, NULL, 0),
                             at ? (unsigned)atoi(at + 1) : ~0u, ~0u};
            return 1;
        }
    return 0;
}
int nvmlEventSetCreate(void **set) {
    for (int gpu = 0; gpu < GPUS; ++gpu) told[gpu] = UNWATCHED;
    return *set = told, SUCCESS;
}
int nvmlEventSetFree(void *set) { return set == told ? SUCCESS : INVALID; }
int nvmlDeviceRegisterEvents(Handle *handle, unsigned long long types, void *set) {
    char list[LINE];
    Event event;
    if (set != told || types != XID || handle->slot) return INVALID;
    if (!word(handle->gpu, "xid", list)) return UNSUPPORTED;
    for (told[handle->gpu] = 0; event_of(handle->gpu, told[handle->gpu], &event);) ++told[handle->gpu];
    return alive(handle);
}
int nvmlEventSetWait_v2(void *set, Event *event, unsigned milliseconds) {
    if (set != told || milliseconds) return INVALID; /* the sampler must not wait */
    for (int gpu = 0; gpu < GPUS; ++gpu)
        if (told[gpu] != UNWATCHED && event_of(gpu, told[gpu], event)) return ++told[gpu], SUCCESS;
    return TIMEOUT;
}
