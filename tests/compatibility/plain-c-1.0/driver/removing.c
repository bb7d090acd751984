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

static uint32_t empty_folder(call_t *call, struct store *store, struct place *place, uint64_t *removed);

/* Removes a folder with what is in it. One into which others keep writing stays, with what they wrote. */
static uint32_t remove_folder(call_t *call, struct store *store, struct place *place, uint64_t *removed) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint32_t result = empty_folder(call, store, place, removed);
        if (result != DOCKER_REGISTRY_OK)
            return result;
        if (unlinkat(store->objects, place->text, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return DOCKER_REGISTRY_OK;
        if (errno != ENOTEMPTY)
            return docker_registry_fail_errno(call, errno, "rmdir");
    }
    return DOCKER_REGISTRY_OK;
}

/* Removes what is in a folder and counts the objects. The folder itself stays, and its names are durable. */
static uint32_t empty_folder(call_t *call, struct store *store, struct place *place, uint64_t *removed) {
    struct child *children;
    size_t count;
    if (read_children(store->objects, folder_name(place), &children, &count) != 0)
        return errno == ENOENT ? DOCKER_REGISTRY_OK : docker_registry_fail_errno(call, errno, "remove");
    uint32_t result = DOCKER_REGISTRY_OK;
    for (size_t index = 0; result == DOCKER_REGISTRY_OK && index < count; index++) {
        int back = enter(place, children[index].name);
        if (docker_registry_is_cancelled(call))
            result = docker_registry_fail(call, DOCKER_REGISTRY_TIMEOUT, "nobody waits for the removal any more");
        else if (back < 0)
            result = docker_registry_fail_errno(call, ENAMETOOLONG, "remove");
        else if (children[index].is_folder)
            result = remove_folder(call, store, place, removed);
        else if (unlinkat(store->objects, place->text, 0) == 0)
            *removed += 1;
        else if (errno != ENOENT)
            result = docker_registry_fail_errno(call, errno, "unlink");
        if (back >= 0)
            leave(place, back);
    }
    free_children(children, count);
    if (result == DOCKER_REGISTRY_OK && count > 0 && sync_folder(store->objects, folder_name(place)) != 0)
        result = docker_registry_fail_errno(call, errno, "fsync");
    return result;
}

uint32_t object_remove_tree(call_t *call, void *instance, text_t prefix, uint64_t *removed) {
    struct store *store = instance;
    struct place place = place_of(prefix);
    struct stat facts;
    if (fstatat(store->objects, folder_name(&place), &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || errno == ENOTDIR ? DOCKER_REGISTRY_OK : fail_lookup(call);
    if (prefix.length == 0)
        return empty_folder(call, store, &place, removed);
    uint32_t result = DOCKER_REGISTRY_OK;
    if (S_ISDIR(facts.st_mode)) {
        result = remove_folder(call, store, &place, removed);
    } else {
        int gone = unlink_object(store, prefix.data);
        *removed = gone > 0;
        if (gone < 0)
            result = docker_registry_fail_errno(call, errno, "unlink");
    }
    if (result != DOCKER_REGISTRY_OK)
        return result;
    prune(store, prefix.data);
    if (sync_names(store, prefix.data) != 0)
        return docker_registry_fail_errno(call, errno, "fsync");
    return DOCKER_REGISTRY_OK;
}
