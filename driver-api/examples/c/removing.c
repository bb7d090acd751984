/* Removing objects, and the folders that they leave empty. */
#include "store.h"

/* How often a folder is emptied again into which others write at the same time. */
enum { ATTEMPTS = 3 };

/* Removes a file. 1 when it was there, 0 when there was none, -1 with errno. */
static int unlink_object(struct store *store, const char *path) {
    if (unlinkat(store->objects, path, 0) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR || errno == EISDIR ? 0 : -1;
}

uint32_t object_remove(call_t *call, void *instance, text_t path) {
    struct store *store = instance;
    int removed = unlink_object(store, path.data);
    if (removed < 0)
        return docker_registry_fail_errno(call, errno, "unlink");
    if (removed == 0)
        return fail_not_found(call);
    prune(store, path.data);
    if (sync_names(store, path.data) != 0)
        return docker_registry_fail_errno(call, errno, "fsync");
    return DOCKER_REGISTRY_OK;
}

uint32_t object_remove_many(call_t *call, void *instance, const text_t *paths, size_t count) {
    uint32_t result = DOCKER_REGISTRY_OK;
    for (size_t index = 0; result == DOCKER_REGISTRY_OK && index < count; index++) {
        uint32_t removed = object_remove(call, instance, paths[index]);
        /* Without an error of its own the failure is the one that was described last. */
        if (removed != DOCKER_REGISTRY_OK && removed != DOCKER_REGISTRY_NOT_FOUND)
            result = docker_registry_put_failure(call, paths[index], removed, NULL);
    }
    return result;
}

/* Removes what is in a folder and counts the objects. The folder itself stays. */
static uint32_t empty_folder(call_t *call, int at, const char *name, uint64_t *removed) {
    struct child *children;
    size_t count;
    if (read_children(at, name, &children, &count) != 0)
        return errno == ENOENT ? DOCKER_REGISTRY_OK : docker_registry_fail_errno(call, errno, "remove");
    uint32_t result = DOCKER_REGISTRY_OK;
    int folder = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    for (size_t index = 0; folder >= 0 && result == DOCKER_REGISTRY_OK && index < count; index++) {
        const char *child = children[index].name;
        if (docker_registry_is_cancelled(call)) {
            result = docker_registry_fail(call, DOCKER_REGISTRY_TIMEOUT, "nobody waits for the removal any more");
        } else if (!children[index].is_folder) {
            if (unlinkat(folder, child, 0) == 0)
                *removed += 1;
            else if (errno != ENOENT)
                result = docker_registry_fail_errno(call, errno, "unlink");
        } else {
            for (int attempt = 0; attempt < ATTEMPTS && result == DOCKER_REGISTRY_OK; attempt++) {
                result = empty_folder(call, folder, child, removed);
                if (result != DOCKER_REGISTRY_OK || unlinkat(folder, child, AT_REMOVEDIR) == 0 || errno == ENOENT)
                    break;
                /* A folder into which others keep writing stays, with what they wrote. */
                if (errno != ENOTEMPTY)
                    result = docker_registry_fail_errno(call, errno, "rmdir");
            }
        }
    }
    if (result == DOCKER_REGISTRY_OK && folder >= 0 && count > 0 && fsync(folder) != 0)
        result = docker_registry_fail_errno(call, errno, "fsync");
    if (folder >= 0)
        close(folder);
    free_children(children, count);
    return result;
}

uint32_t object_remove_tree(call_t *call, void *instance, text_t prefix, uint64_t *removed) {
    struct store *store = instance;
    struct stat facts;
    uint32_t result = DOCKER_REGISTRY_OK;
    if (fstatat(store->objects, folder_name(prefix), &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || errno == ENOTDIR ? DOCKER_REGISTRY_OK : fail_lookup(call);
    if (S_ISDIR(facts.st_mode)) {
        result = empty_folder(call, store->objects, folder_name(prefix), removed);
        if (prefix.length > 0)
            unlinkat(store->objects, prefix.data, AT_REMOVEDIR);
    } else {
        int gone = unlink_object(store, prefix.data);
        if (gone < 0)
            return docker_registry_fail_errno(call, errno, "unlink");
        *removed = (uint64_t)gone;
    }
    if (result != DOCKER_REGISTRY_OK || prefix.length == 0)
        return result;
    prune(store, prefix.data);
    if (sync_names(store, prefix.data) != 0)
        return docker_registry_fail_errno(call, errno, "fsync");
    return DOCKER_REGISTRY_OK;
}
