/*
 * Temporary files, and what becomes of them when a process is killed.
 *
 *   temporary/ID/           the files that one open store is writing
 *
 * Each open store has a folder of its own and a lock on it, which dies with the process that holds it. The next store
 * that is opened removes every folder whose lock is free. Folders are made, locked and removed under a lock on
 * `temporary` itself, so that nobody takes one for dead that is not locked yet.
 */
#include "store.h"

#include <sys/file.h>

/* Waits for a lock on a folder. */
static int lock_folder(int folder) {
    int result;
    do
        result = flock(folder, LOCK_EX);
    while (result != 0 && errno == EINTR);
    return result;
}

/* Removes a folder with its files when the store that it belonged to is dead. 0 when it is gone or alive. */
static int remove_dead(int all, const char *name) {
    int folder = openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0)
        return is_absence(errno) ? 0 : -1;
    struct child *children;
    size_t count;
    int reason = 0;
    if (flock(folder, LOCK_EX | LOCK_NB) != 0) {
        reason = errno == EWOULDBLOCK ? 0 : errno;
    } else if (read_children(all, name, &children, &count) != 0) {
        reason = errno;
    } else {
        for (size_t index = 0; reason == 0 && index < count; index++)
            if (unlinkat(folder, children[index].name, 0) != 0 && errno != ENOENT)
                reason = errno;
        free_children(children, count);
        if (reason == 0 && unlinkat(all, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
            reason = errno;
    }
    close(folder);
    errno = reason;
    return reason == 0 ? 0 : -1;
}

/* Works under the lock on all temporary folders. */
static uint32_t open_locked(call_t *call, struct store *store) {
    struct child *children;
    size_t count;
    if (read_children(store->all_temporary, ".", &children, &count) != 0)
        return docker_registry_fail_errno(call, errno, "temporary");
    for (size_t index = 0; index < count; index++)
        /* What cannot be removed costs room and is no reason not to work. */
        if (children[index].is_folder && remove_dead(store->all_temporary, children[index].name) != 0)
            docker_registry_log(call->host, DOCKER_REGISTRY_LOG_WARNING, "temporary files of a dead process stay");
    free_children(children, count);
    if (random_name(call, store->temporary_name) != DOCKER_REGISTRY_OK)
        return DOCKER_REGISTRY_FAILED;
    if (mkdirat(store->all_temporary, store->temporary_name, 0777) != 0)
        return docker_registry_fail_errno(call, errno, "temporary");
    store->temporary = openat(store->all_temporary, store->temporary_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->temporary < 0 || lock_folder(store->temporary) != 0)
        return docker_registry_fail_errno(call, errno, "temporary");
    return DOCKER_REGISTRY_OK;
}

uint32_t open_temporary(call_t *call, struct store *store) {
    if (lock_folder(store->all_temporary) != 0)
        return docker_registry_fail_errno(call, errno, "flock");
    uint32_t result = open_locked(call, store);
    flock(store->all_temporary, LOCK_UN);
    return result;
}

void close_temporary(struct store *store) {
    if (store->temporary < 0)
        return;
    /* A file that is still in it goes with the next store that is opened. */
    unlinkat(store->all_temporary, store->temporary_name, AT_REMOVEDIR);
    close(store->temporary);
}
