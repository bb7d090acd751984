/*
 * A driver that does one thing wrong, or one thing that few drivers do, chosen by the path of a call. What is wrong
 * with the table itself is chosen when it is compiled, with -D.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "docker_registry_driver.h"

/* A table without a fault. */
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(struct docker_registry_driver)
#endif
#ifndef API_MAJOR
#define API_MAJOR DOCKER_REGISTRY_API_MAJOR
#endif
#ifndef SUMMARY
#define SUMMARY "nothing at all"
#endif
#ifndef KEYS
#define KEYS keys
#endif
#ifndef KEY_COUNT
#define KEY_COUNT 5
#endif
#ifndef KEY_KIND
#define KEY_KIND DOCKER_REGISTRY_KIND_INTEGER
#endif
#ifndef KEY_DOC
#define KEY_DOC "Several texts."
#endif
#ifndef GET
#define GET get_object
#endif
#ifndef HEALTH
#define HEALTH health
#endif
#ifndef READ_NEXT
#define READ_NEXT read_next
#endif
#ifndef READ_CLOSE
#define READ_CLOSE read_close
#endif
#ifndef CAPABILITIES
#define CAPABILITIES 0
#endif
/* A function or key that a fault leaves out is not an error of this file. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-const-variable"

typedef struct docker_registry_call call_t;
typedef struct docker_registry_text text_t;

/* What happened, in numbers that `get` answers with. */
static int appending, blocked, released, open_handles, closed, running;

struct instance {
    char settings[1024];
};

static int is(text_t path, const char *name) {
    return strcmp(path.data, name) == 0;
}

static uint32_t put_text(call_t *call, const char *text) {
    struct docker_registry_info info = {.size = strlen(text)};
    uint32_t result = docker_registry_put_bytes(call, text, strlen(text));
    return result == DOCKER_REGISTRY_OK ? docker_registry_put_info(call, &info) : result;
}

static uint32_t open_instance(call_t *call, const struct docker_registry_settings *settings, void **instance) {
    struct instance *opened = calloc(1, sizeof *opened);
    size_t used = 0;
    for (size_t index = 0; index < settings->count; index++) {
        const struct docker_registry_setting *setting = &settings->settings[index];
        size_t room = sizeof opened->settings - used;
        char *end = opened->settings + used;
        switch (setting->kind) {
        case DOCKER_REGISTRY_KIND_TEXT:
            used += (size_t)snprintf(end, room, "%s=%s ", setting->name.data, setting->text.data);
            break;
        case DOCKER_REGISTRY_KIND_INTEGER:
            used += (size_t)snprintf(end, room, "%s=%lld ", setting->name.data, (long long)setting->integer);
            break;
        case DOCKER_REGISTRY_KIND_FLOAT:
            used += (size_t)snprintf(end, room, "%s=%.3f ", setting->name.data, setting->number);
            break;
        case DOCKER_REGISTRY_KIND_BOOLEAN:
            used += (size_t)snprintf(end, room, "%s=%s ", setting->name.data, setting->boolean ? "yes" : "no");
            break;
        default:
            used += (size_t)snprintf(end, room, "%s=%zu", setting->name.data, setting->item_count);
            for (size_t item = 0; item < setting->item_count; item++)
                used += (size_t)snprintf(opened->settings + used, sizeof opened->settings - used, ",%s",
                                         setting->items[item].data);
            used += (size_t)snprintf(opened->settings + used, sizeof opened->settings - used, " ");
        }
    }
    const struct docker_registry_setting *text = docker_registry_find_setting(settings, "text");
    if (text && strcmp(text->text.data, "refuse") == 0) {
        free(opened);
        return docker_registry_fail(call, DOCKER_REGISTRY_INVALID_CONFIGURATION, "text must not be refuse");
    }
    *instance = opened;
    if (text && strcmp(text->text.data, "answer") == 0)
        docker_registry_put_bytes(call, "x", 1);
    return DOCKER_REGISTRY_OK;
}

/* Counts 1 when it is called as it should be: after all other functions and on a thread that may block. */
static void close_instance(void *instance) {
    char thread[16] = {0};
    prctl(PR_GET_NAME, thread);
    int is_right = __atomic_load_n(&running, __ATOMIC_SEQ_CST) == 0 && strncmp(thread, "driver-", 7) == 0;
    __atomic_add_fetch(&closed, is_right ? 1 : 1000, __ATOMIC_SEQ_CST);
    free(instance);
}

/* Blocks until nobody waits any more. */
static uint32_t block(call_t *call) {
    __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&blocked, 1, __ATOMIC_SEQ_CST);
    while (!docker_registry_is_cancelled(call))
        usleep(1000);
    usleep(20000);
    __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return docker_registry_fail(call, DOCKER_REGISTRY_TIMEOUT, "nobody waits any more");
}

static uint32_t get_object(call_t *call, void *instance, text_t path, uint64_t max_size) {
    struct instance *opened = instance;
    struct docker_registry_error error = {0};
    char text[128], *large;
    uint32_t result;
    (void)max_size;
    if (is(path, "settings"))
        return put_text(call, opened->settings);
    if (is(path, "numbers")) {
        snprintf(text, sizeof text, "appending=%d blocked=%d released=%d handles=%d closed=%d",
                 __atomic_load_n(&appending, __ATOMIC_SEQ_CST), __atomic_load_n(&blocked, __ATOMIC_SEQ_CST),
                 __atomic_load_n(&released, __ATOMIC_SEQ_CST), __atomic_load_n(&open_handles, __ATOMIC_SEQ_CST),
                 __atomic_load_n(&closed, __ATOMIC_SEQ_CST));
        return put_text(call, text);
    }
    if (is(path, "unknown-code"))
        return docker_registry_fail(call, 4711, "something odd");
    if (is(path, "unknown-code-in-silence"))
        return 4711;
    if (is(path, "failed-in-silence"))
        return DOCKER_REGISTRY_FAILED;
    if (is(path, "not-utf8"))
        return docker_registry_fail(call, DOCKER_REGISTRY_UNAVAILABLE, "the disk said \xff\xfe twice");
    if (is(path, "long-message")) {
        large = malloc(1 << 20);
        memset(large, 'x', 1 << 20);
        error.message.data = large;
        error.message.length = 1 << 20;
        result = docker_registry_fail_with(call, DOCKER_REGISTRY_UNAVAILABLE, &error);
        free(large);
        return result;
    }
    if (is(path, "throttled")) {
        error.flags = DOCKER_REGISTRY_ERROR_HAS_RETRY_AFTER;
        error.retry_after_millis = 1500;
        error.message = docker_registry_text_of("slower, please");
        error.source = docker_registry_text_of("503");
        return docker_registry_fail_with(call, DOCKER_REGISTRY_THROTTLED, &error);
    }
    if (is(path, "not-retryable")) {
        error.flags = DOCKER_REGISTRY_ERROR_NOT_RETRYABLE | DOCKER_REGISTRY_ERROR_OUTCOME_UNKNOWN;
        return docker_registry_fail_with(call, DOCKER_REGISTRY_UNAVAILABLE, &error);
    }
    if (is(path, "errno"))
        return docker_registry_fail_errno(call, ENOSPC, "write");
    if (is(path, "errno-alone"))
        return docker_registry_fail_errno(call, ENOSPC, NULL);
    if (is(path, "no-bytes-with-a-length")) {
        docker_registry_put_bytes(call, NULL, 5);
        return DOCKER_REGISTRY_OK;
    }
    if (is(path, "endless-bytes")) {
        docker_registry_put_bytes(call, "x", (size_t)-1);
        return DOCKER_REGISTRY_OK;
    }
    if (is(path, "too-many-bytes")) {
        large = calloc(1, 1 << 20);
        for (int piece = 0; piece < 64; piece++)
            docker_registry_put_bytes(call, large, 1 << 20);
        free(large);
        return DOCKER_REGISTRY_OK;
    }
    if (is(path, "no-info"))
        return docker_registry_put_bytes(call, "x", 1);
    if (is(path, "null-info"))
        return docker_registry_put_info(call, NULL);
    if (is(path, "other-size")) {
        struct docker_registry_info info = {.size = 2};
        docker_registry_put_info(call, &info);
        return docker_registry_put_bytes(call, "x", 1);
    }
    if (is(path, "long-tag")) {
        struct docker_registry_info info = {.size = 0};
        char tag[2000];
        memset(tag, 'x', sizeof tag);
        info.etag.data = tag;
        info.etag.length = sizeof tag;
        docker_registry_put_info(call, &info);
        return DOCKER_REGISTRY_OK;
    }
    if (is(path, "body")) {
        size_t filled;
        docker_registry_body_read(call, text, sizeof text, &filled);
        return put_text(call, "");
    }
    if (is(path, "put_folder"))
        docker_registry_put_folder(call);
    if (is(path, "put_entry"))
        docker_registry_put_entry(call, docker_registry_text_of("a"), NULL);
    if (is(path, "put_next"))
        docker_registry_put_next(call, docker_registry_text_of("a"));
    if (is(path, "put_upload"))
        docker_registry_put_upload(call, "s", 1, 0, 0);
    if (is(path, "put_failure"))
        docker_registry_put_failure(call, path, DOCKER_REGISTRY_NOT_FOUND, NULL);
    if (strncmp(path.data, "put_", 4) == 0)
        return put_text(call, "");
    if (is(path, "block"))
        return block(call);
    if (is(path, "call")) {
        snprintf(text, sizeof text, "background=%d trace=%d transient=%d first=%d deadline=%d",
                 (call->flags & DOCKER_REGISTRY_CALL_BACKGROUND) != 0,
                 (call->flags & DOCKER_REGISTRY_CALL_HAS_TRACE) != 0,
                 (call->flags & DOCKER_REGISTRY_CALL_TRANSIENT) != 0, call->trace_id[0],
                 docker_registry_remaining_millis(call) != UINT64_MAX);
        return put_text(call, text);
    }
    if (is(path, "log")) {
        docker_registry_log(call->host, DOCKER_REGISTRY_LOG_WARNING, "a line from C, with \xff in it");
        docker_registry_count(call->host, "lines_written", 2);
        return put_text(call, "");
    }
    return docker_registry_fail(call, DOCKER_REGISTRY_NOT_FOUND, "there is nothing at this path");
}

/* A reading of `left` bytes that claims to have `length`. */
struct handle {
    uint64_t left;
    unsigned char next;
    int overfill;
};

static uint32_t read_open(call_t *call, void *instance, text_t path, const struct docker_registry_range *range,
                          struct docker_registry_reading *reading) {
    struct docker_registry_info info = {.size = 600000};
    (void)instance;
    if (is(path, "closed-file") || is(path, "short-file") || is(path, "folder")) {
        reading->file = is(path, "closed-file") ? 9999 : open(is(path, "folder") ? "/" : "/dev/null", O_RDONLY);
        if (is(path, "short-file")) {
            close(reading->file);
            reading->file = memfd_create("short-file", MFD_CLOEXEC);
        }
        reading->length = info.size;
        return docker_registry_put_info(call, &info);
    }
    uint32_t result = docker_registry_resolve_range(call, range, info.size, &reading->offset, &reading->length);
    if (result != DOCKER_REGISTRY_OK)
        return result;
    struct handle *handle = calloc(1, sizeof *handle);
    handle->left = is(path, "short") ? 1000 : reading->length;
    handle->next = (unsigned char)reading->offset;
    handle->overfill = is(path, "overfull");
    reading->handle = handle;
    __atomic_add_fetch(&open_handles, 1, __ATOMIC_SEQ_CST);
    if (is(path, "other-range"))
        reading->offset += 1;
    if (is(path, "long-tag")) {
        char tag[2000];
        memset(tag, 'x', sizeof tag);
        info.etag.data = tag;
        info.etag.length = sizeof tag;
    }
    docker_registry_put_info(call, &info);
    return DOCKER_REGISTRY_OK;
}

static uint32_t read_next(call_t *call, void *instance, void *pointer, void *buffer, size_t capacity, size_t *filled) {
    struct handle *handle = pointer;
    unsigned char *bytes = buffer;
    (void)call;
    (void)instance;
    *filled = handle->left < capacity ? (size_t)handle->left : capacity;
    for (size_t index = 0; index < *filled; index++)
        bytes[index] = handle->next++;
    handle->left -= *filled;
    if (handle->overfill)
        *filled = capacity + 1;
    return DOCKER_REGISTRY_OK;
}

static void read_close(void *instance, void *handle) {
    (void)instance;
    free(handle);
    __atomic_sub_fetch(&open_handles, 1, __ATOMIC_SEQ_CST);
}

static uint32_t list(call_t *call, void *instance, const struct docker_registry_list_request *request) {
    struct docker_registry_info info = {.size = 1};
    (void)instance;
    if (is(request->prefix, "unsorted")) {
        docker_registry_put_entry(call, docker_registry_text_of("b"), &info);
        docker_registry_put_entry(call, docker_registry_text_of("a"), &info);
    } else if (is(request->prefix, "too-many")) {
        for (uint32_t index = 0; index <= request->limit; index++) {
            char name[16];
            snprintf(name, sizeof name, "%08u", index);
            docker_registry_put_entry(call, docker_registry_text_of(name), &info);
        }
    } else if (is(request->prefix, "put_upload")) {
        docker_registry_put_upload(call, "s", 1, 0, 0);
    } else if (is(request->prefix, "put_bytes")) {
        docker_registry_put_bytes(call, "x", 1);
    } else if (is(request->prefix, "no-path")) {
        docker_registry_put_entry(call, docker_registry_text_of("a/../b"), &info);
    } else if (is(request->prefix, "not-utf8")) {
        docker_registry_put_entry(call, docker_registry_text_of("a\xff"), &info);
    } else if (is(request->prefix, "long-path")) {
        char name[3000];
        memset(name, 'x', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        docker_registry_put_entry(call, docker_registry_text_of(name), &info);
    }
    return DOCKER_REGISTRY_OK;
}

static uint32_t open_upload(call_t *call, void *instance, const struct docker_registry_upload_hint *hint) {
    (void)instance;
    if (hint->final_path.data && is(hint->final_path, "no-state"))
        return DOCKER_REGISTRY_OK;
    if (hint->final_path.data && is(hint->final_path, "long-state")) {
        char state[DOCKER_REGISTRY_MAX_UPLOAD_STATE_BYTES + 1] = {0};
        docker_registry_put_bytes(call, state, sizeof state);
        return DOCKER_REGISTRY_OK;
    }
    return docker_registry_put_bytes(call, "s", 1);
}

/* Counts the bytes of the body, seven at a time. */
static uint32_t append(call_t *call, void *instance, struct docker_registry_bytes state, uint64_t expected,
                       uint64_t *offset) {
    (void)instance;
    (void)state;
    size_t filled = 0;
    *offset = expected;
    __atomic_add_fetch(&appending, 1, __ATOMIC_SEQ_CST);
    do {
        char buffer[7];
        uint32_t result = docker_registry_body_read(call, buffer, sizeof buffer, &filled);
        if (result != DOCKER_REGISTRY_OK) {
            __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
            __atomic_sub_fetch(&appending, 1, __ATOMIC_SEQ_CST);
            return result;
        }
        *offset += filled;
    } while (filled > 0);
    __atomic_sub_fetch(&appending, 1, __ATOMIC_SEQ_CST);
    return docker_registry_put_bytes(call, "s", 1);
}

static uint32_t put_object(call_t *call, void *instance, text_t path, struct docker_registry_bytes content,
                           const struct docker_registry_condition *condition) {
    (void)instance;
    (void)path;
    (void)content;
    (void)condition;
    return docker_registry_fail(call, DOCKER_REGISTRY_UNSUPPORTED, "this driver keeps nothing");
}

static uint32_t about_path(call_t *call, void *instance, text_t path) {
    (void)instance;
    (void)path;
    return docker_registry_fail(call, DOCKER_REGISTRY_NOT_FOUND, "there is nothing at this path");
}

static uint32_t commit(call_t *call, void *instance, struct docker_registry_bytes state, text_t path,
                       const struct docker_registry_condition *condition) {
    (void)state;
    (void)condition;
    return about_path(call, instance, path);
}

static uint32_t abort_upload(call_t *call, void *instance, struct docker_registry_bytes state) {
    (void)call;
    (void)instance;
    (void)state;
    return DOCKER_REGISTRY_OK;
}

static uint32_t pair(call_t *call, void *instance, text_t from, text_t to) {
    (void)to;
    return about_path(call, instance, from);
}

static uint32_t remove_object(call_t *call, void *instance, text_t path) {
    return is(path, "fails") ? docker_registry_fail(call, DOCKER_REGISTRY_PERMISSION_DENIED, "not this one")
                             : about_path(call, instance, path);
}

static uint32_t remove_tree(call_t *call, void *instance, text_t path, uint64_t *removed) {
    (void)call;
    (void)instance;
    (void)path;
    *removed = 0;
    return DOCKER_REGISTRY_OK;
}

/* Tells when as many functions block as there are places for. */
static uint32_t health(call_t *call, void *instance) {
    (void)instance;
    if (__atomic_load_n(&running, __ATOMIC_SEQ_CST) >= 256)
        return docker_registry_fail(call, DOCKER_REGISTRY_UNAVAILABLE, "256 calls are blocked");
    return DOCKER_REGISTRY_OK;
}

static uint64_t capabilities(void *instance) {
    (void)instance;
    return CAPABILITIES;
}

static const struct docker_registry_key keys[] = {
    {.name = "text", .kind = DOCKER_REGISTRY_KIND_TEXT, .default_value = "default", .doc = "A text."},
    {.name = "integer", .kind = KEY_KIND, .doc = "A number."},
    {.name = "ratio", .kind = DOCKER_REGISTRY_KIND_FLOAT, .doc = "Another number."},
    {.name = "on", .kind = DOCKER_REGISTRY_KIND_BOOLEAN, .doc = "Yes or no."},
    {.name = "list", .kind = DOCKER_REGISTRY_KIND_LIST, .flags = DOCKER_REGISTRY_KEY_SECRET, .doc = KEY_DOC},
};

static const struct docker_registry_driver driver = {
    .size = TABLE_SIZE,
    .api_major = API_MAJOR,
    .summary = SUMMARY,
    .licence = "Apache-2.0",
    .keys = KEYS,
    .key_count = KEY_COUNT,
    .open = open_instance,
    .close = close_instance,
    .capabilities = capabilities,
    .get = GET,
    .put = put_object,
    .head = about_path,
    .stat = about_path,
    .read_open = read_open,
    .read_next = READ_NEXT,
    .read_close = READ_CLOSE,
    .list = list,
    .open_upload = open_upload,
    .append = append,
    .commit = commit,
    .abort_upload = abort_upload,
    .copy = pair,
    .rename = pair,
    .remove = remove_object,
    .remove_tree = remove_tree,
    .health = HEALTH,
};

DOCKER_REGISTRY_DRIVER(faulty, "0.1.0", driver);
