/* Reading and writing whole objects. */
#include "store.h"

/* Opens an object. Returns its descriptor, or -1 after describing the failure. A folder is no object. */
static int open_object(call_t *call, struct store *store, text_t path, struct stat *facts) {
    int file = openat(store->objects, path.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        fail_lookup(call);
        return -1;
    }
    if (fstat(file, facts) != 0) {
        docker_registry_fail_errno(call, errno, "stat");
    } else if (!S_ISREG(facts->st_mode)) {
        fail_not_found(call);
    } else {
        return file;
    }
    close(file);
    return -1;
}

/* Answers with the facts of an open or found file. */
static uint32_t put_info(call_t *call, const struct stat *facts) {
    char etag[64];
    struct docker_registry_info info = info_of(facts, etag);
    return docker_registry_put_info(call, &info);
}

uint32_t object_get(call_t *call, void *instance, text_t path, uint64_t max_size) {
    struct stat facts;
    int file = open_object(call, instance, path, &facts);
    if (file < 0)
        return DOCKER_REGISTRY_FAILED;
    uint32_t result = DOCKER_REGISTRY_OK;
    uint64_t size = (uint64_t)facts.st_size;
    char *content = NULL;
    if (size > max_size)
        result = docker_registry_fail(call, DOCKER_REGISTRY_TOO_LARGE, "the object is larger than was asked for");
    else if (!(content = malloc(size + 1)))
        result = docker_registry_fail_errno(call, ENOMEM, "get");
    uint64_t filled = 0;
    while (result == DOCKER_REGISTRY_OK && filled < size) {
        ssize_t got = read(file, content + filled, size - filled);
        if (got > 0)
            filled += (uint64_t)got;
        else if (got == 0)
            result = docker_registry_fail(call, DOCKER_REGISTRY_CORRUPT, "the file got shorter");
        else if (errno != EINTR)
            result = docker_registry_fail_errno(call, errno, "read");
    }
    if (result == DOCKER_REGISTRY_OK)
        result = docker_registry_put_bytes(call, content, size);
    if (result == DOCKER_REGISTRY_OK)
        result = put_info(call, &facts);
    free(content);
    close(file);
    return result;
}

/* Publishes a temporary file that is open as `file`, and finds out its facts. It is gone afterwards. */
static uint32_t publish_file(call_t *call, struct store *store, int file, const char *name, text_t path,
                             uint32_t condition, struct stat *facts) {
    uint32_t result = finish_file(call, file);
    if (result == DOCKER_REGISTRY_OK && fstat(file, facts) != 0)
        result = docker_registry_fail_errno(call, errno, "stat");
    if (result == DOCKER_REGISTRY_OK)
        result = publish(call, store, store->temporary, name, path.data, condition);
    if (result != DOCKER_REGISTRY_OK)
        unlinkat(store->temporary, name, 0);
    return result;
}

uint32_t object_put(call_t *call, void *instance, text_t path, struct docker_registry_bytes content,
                    const struct docker_registry_condition *condition) {
    struct store *store = instance;
    struct stat facts;
    char name[NAME_BYTES];
    int file = new_file(call, store->temporary, name);
    if (file < 0)
        return DOCKER_REGISTRY_FAILED;
    uint32_t result = write_all(call, file, content.data, content.length);
    if (result == DOCKER_REGISTRY_OK)
        result = publish_file(call, store, file, name, path, condition->kind, &facts);
    else
        unlinkat(store->temporary, name, 0);
    close(file);
    return result == DOCKER_REGISTRY_OK ? put_info(call, &facts) : result;
}

uint32_t object_head(call_t *call, void *instance, text_t path) {
    struct store *store = instance;
    struct stat facts;
    if (fstatat(store->objects, path.data, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_lookup(call);
    return S_ISREG(facts.st_mode) ? put_info(call, &facts) : fail_not_found(call);
}

uint32_t object_stat(call_t *call, void *instance, text_t path) {
    struct store *store = instance;
    if (path.length == 0)
        return docker_registry_put_folder(call);
    struct stat facts;
    if (fstatat(store->objects, path.data, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_lookup(call);
    if (S_ISREG(facts.st_mode))
        return put_info(call, &facts);
    /* A crash may have left folders without an object. */
    struct place place = place_of(path);
    int found = S_ISDIR(facts.st_mode) ? holds_object(store, &place) : 0;
    if (found < 0)
        return docker_registry_fail_errno(call, errno, "stat");
    return found ? docker_registry_put_folder(call) : fail_not_found(call);
}

uint32_t object_read_open(call_t *call, void *instance, text_t path, const struct docker_registry_range *range,
                          struct docker_registry_reading *reading) {
    struct stat facts;
    int file = open_object(call, instance, path, &facts);
    if (file < 0)
        return DOCKER_REGISTRY_FAILED;
    uint32_t result = docker_registry_resolve_range(call, range, (uint64_t)facts.st_size, &reading->offset,
                                                    &reading->length);
    if (result == DOCKER_REGISTRY_OK)
        result = put_info(call, &facts);
    if (result != DOCKER_REGISTRY_OK) {
        close(file);
        return result;
    }
    /* The file passes to the server. Objects are replaced, never changed, so it shows this content for ever. */
    reading->file = file;
    reading->file_offset = reading->offset;
    return DOCKER_REGISTRY_OK;
}

uint32_t object_copy(call_t *call, void *instance, text_t from, text_t to) {
    struct store *store = instance;
    struct stat facts;
    char name[NAME_BYTES];
    int source = open_object(call, store, from, &facts);
    if (source < 0)
        return DOCKER_REGISTRY_FAILED;
    /* A copy onto itself changes nothing, neither tag nor time. */
    if (strcmp(from.data, to.data) == 0) {
        close(source);
        return DOCKER_REGISTRY_OK;
    }
    uint32_t result = DOCKER_REGISTRY_FAILED;
    int target = new_file(call, store->temporary, name);
    if (target >= 0) {
        result = copy_all(call, source, target);
        if (result == DOCKER_REGISTRY_OK)
            result = publish_file(call, store, target, name, to, DOCKER_REGISTRY_ALWAYS, &facts);
        else
            unlinkat(store->temporary, name, 0);
        close(target);
    }
    close(source);
    return result;
}

uint32_t object_rename(call_t *call, void *instance, text_t from, text_t to) {
    struct store *store = instance;
    struct stat facts;
    if (fstatat(store->objects, from.data, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_lookup(call);
    if (!S_ISREG(facts.st_mode))
        return fail_not_found(call);
    if (strcmp(from.data, to.data) == 0)
        return DOCKER_REGISTRY_OK;
    uint32_t result = publish(call, store, store->objects, from.data, to.data, DOCKER_REGISTRY_ALWAYS);
    if (result != DOCKER_REGISTRY_OK)
        return result;
    prune(store, from.data);
    if (sync_names(store, from.data) != 0)
        return docker_registry_fail_errno(call, errno, "fsync");
    return DOCKER_REGISTRY_OK;
}
