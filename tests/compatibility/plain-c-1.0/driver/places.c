/* Names of files, and the one way in which a finished file becomes an object. */
#include "store.h"

#include <sys/random.h>
#include <time.h>

/* How often a write starts again whose folder others remove at the same time. */
enum { ATTEMPTS = 100 };

int is_absence(int reason) {
    /* A file where a folder would be, and a link, which is nothing of this driver's. */
    return reason == ENOENT || reason == ENOTDIR || reason == ELOOP;
}

uint32_t fail_lookup(call_t *call) {
    return docker_registry_fail_errno(call, is_absence(errno) ? ENOENT : errno, NULL);
}

uint32_t fail_not_found(call_t *call) {
    return docker_registry_fail(call, DOCKER_REGISTRY_NOT_FOUND, "there is nothing at this path");
}

struct place place_of(text_t path) {
    struct place place = {.length = path.length};
    memcpy(place.text, path.data, path.length);
    return place;
}

const char *folder_name(const struct place *place) {
    return place->length == 0 ? "." : place->text;
}

int enter(struct place *place, const char *child) {
    size_t back = place->length, room = sizeof place->text - back;
    int added = snprintf(place->text + back, room, back == 0 ? "%s" : "/%s", child);
    if ((size_t)added >= room) {
        place->text[back] = '\0';
        return -1;
    }
    place->length += (size_t)added;
    return (int)back;
}

void leave(struct place *place, int back) {
    place->length = (size_t)back;
    place->text[back] = '\0';
}

uint32_t random_name(call_t *call, char name[NAME_BYTES]) {
    unsigned char random[(NAME_BYTES - 1) / 2];
    /* So few bytes come whole, or not at all. */
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return docker_registry_fail_errno(call, errno, "getrandom");
    for (size_t index = 0; index < sizeof random; index++)
        snprintf(name + 2 * index, 3, "%02x", random[index]);
    return DOCKER_REGISTRY_OK;
}

int new_file(call_t *call, int folder, char name[NAME_BYTES]) {
    if (random_name(call, name) != DOCKER_REGISTRY_OK)
        return -1;
    int file = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0)
        docker_registry_fail_errno(call, errno, "new file");
    return file;
}

uint32_t write_all(call_t *call, int file, const void *data, size_t length) {
    const char *rest = data;
    while (length > 0) {
        ssize_t written = write(file, rest, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return docker_registry_fail_errno(call, errno, "write");
        rest += written;
        length -= (size_t)written;
    }
    return DOCKER_REGISTRY_OK;
}

uint32_t copy_all(call_t *call, int source, int target) {
    char *buffer = malloc(BUFFER_BYTES);
    if (!buffer)
        return docker_registry_fail_errno(call, ENOMEM, "copy");
    uint32_t result = DOCKER_REGISTRY_OK;
    off_t offset = 0;
    while (result == DOCKER_REGISTRY_OK) {
        if (docker_registry_is_cancelled(call)) {
            result = docker_registry_fail(call, DOCKER_REGISTRY_TIMEOUT, "nobody waits for the copy any more");
            break;
        }
        ssize_t filled = pread(source, buffer, BUFFER_BYTES, offset);
        if (filled < 0 && errno == EINTR)
            continue;
        if (filled < 0)
            result = docker_registry_fail_errno(call, errno, "read");
        if (filled <= 0)
            break;
        result = write_all(call, target, buffer, (size_t)filled);
        offset += filled;
    }
    free(buffer);
    return result;
}

uint32_t finish_file(call_t *call, int file) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    /* The kernel's own stamp is coarse: two versions that are written in a row could get the same. */
    clock_gettime(CLOCK_REALTIME, &times[1]);
    if (futimens(file, times) != 0)
        return docker_registry_fail_errno(call, errno, "futimens");
    if (fsync(file) != 0)
        return docker_registry_fail_errno(call, errno, "fsync");
    return DOCKER_REGISTRY_OK;
}

/* Copies a path to memory that can be changed; segments are cut off at its end. */
static void copy_path(char copy[DOCKER_REGISTRY_MAX_PATH_BYTES + 1], const char *path) {
    snprintf(copy, DOCKER_REGISTRY_MAX_PATH_BYTES + 1, "%s", path);
}

/* Makes the folders of an object. -1 with errno; ENOENT when somebody removes them at the same time. */
static int make_folders(struct store *store, const char *path) {
    char folder[DOCKER_REGISTRY_MAX_PATH_BYTES + 1];
    copy_path(folder, path);
    for (char *slash = strchr(folder, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(store->objects, folder, 0777) != 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return 0;
}

static uint32_t fail_condition(call_t *call) {
    return docker_registry_fail(call, DOCKER_REGISTRY_CONDITION_FAILED, "something is at this path already");
}

/*
 * The name is taken. Returns DOCKER_REGISTRY_OK when the write may be tried again: only empty folders were in the way
 * and are gone, or others have changed meanwhile what is there.
 */
static uint32_t resolve_taken(call_t *call, struct store *store, const char *path, uint32_t condition) {
    struct stat facts;
    if (fstatat(store->objects, path, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? DOCKER_REGISTRY_OK : docker_registry_fail_errno(call, errno, NULL);
    if (!S_ISDIR(facts.st_mode))
        /* An object is no obstacle to a write that replaces: a folder was, and somebody has put the object since. */
        return condition == DOCKER_REGISTRY_ALWAYS ? DOCKER_REGISTRY_OK : fail_condition(call);
    struct place place = place_of(docker_registry_text_of(path));
    if (remove_hollow(store, &place) == 0 || errno == ENOTDIR)
        return DOCKER_REGISTRY_OK;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return docker_registry_fail(call, DOCKER_REGISTRY_CONFLICT, "a folder is at this path");
    return docker_registry_fail_errno(call, errno, "folder in the way");
}

uint32_t publish(call_t *call, struct store *store, int folder, const char *name, const char *path,
                 uint32_t condition) {
    if (condition != DOCKER_REGISTRY_ALWAYS && condition != DOCKER_REGISTRY_IF_ABSENT)
        return docker_registry_fail(call, DOCKER_REGISTRY_UNSUPPORTED, "this driver compares no tags");
    unsigned flags = condition == DOCKER_REGISTRY_IF_ABSENT ? RENAME_NOREPLACE : 0;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (renameat2(folder, name, store->objects, path, flags) == 0) {
            if (sync_names(store, path) == 0)
                return DOCKER_REGISTRY_OK;
            struct docker_registry_error error = {
                .flags = DOCKER_REGISTRY_ERROR_OUTCOME_UNKNOWN,
                .message = docker_registry_text_of("the object is there and may not survive a power cut"),
                .source = docker_registry_text_of(strerror(errno)),
            };
            return docker_registry_fail_with(call, DOCKER_REGISTRY_UNAVAILABLE, &error);
        }
        uint32_t result = DOCKER_REGISTRY_OK;
        int reason = errno;
        if (reason == EEXIST || reason == EISDIR || reason == ENOTEMPTY)
            result = resolve_taken(call, store, path, condition);
        else if (reason != ENOENT || faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            result = docker_registry_fail_errno(call, reason, "rename");
        else if (make_folders(store, path) != 0 && errno != ENOENT)
            result = docker_registry_fail_errno(call, errno, "mkdir");
        if (result != DOCKER_REGISTRY_OK) {
            /* Folders may have been made for nothing. */
            prune(store, path);
            return result;
        }
    }
    return docker_registry_fail(call, DOCKER_REGISTRY_UNAVAILABLE, "folders are removed as fast as they are made");
}

int sync_folder(int at, const char *name) {
    int folder = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        /* A folder that others have removed meanwhile holds no name of ours any more. */
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    int result = fsync(folder);
    int reason = errno;
    close(folder);
    errno = reason;
    return result;
}

int sync_names(struct store *store, const char *path) {
    char folder[DOCKER_REGISTRY_MAX_PATH_BYTES + 1];
    copy_path(folder, path);
    for (char *slash = strrchr(folder, '/'); slash; slash = strrchr(folder, '/')) {
        *slash = '\0';
        if (sync_folder(store->objects, folder) != 0)
            return -1;
    }
    return fsync(store->objects);
}

void prune(struct store *store, const char *path) {
    char folder[DOCKER_REGISTRY_MAX_PATH_BYTES + 1];
    copy_path(folder, path);
    for (char *slash = strrchr(folder, '/'); slash; slash = strrchr(folder, '/')) {
        *slash = '\0';
        if (unlinkat(store->objects, folder, AT_REMOVEDIR) != 0 && errno != ENOENT)
            break;
    }
}

int remove_hollow(struct store *store, struct place *place) {
    struct child *children;
    size_t count;
    if (read_children(store->objects, folder_name(place), &children, &count) != 0)
        return errno == ENOENT ? 0 : -1;
    int reason = 0;
    for (size_t index = 0; reason == 0 && index < count; index++) {
        int back = children[index].is_folder ? enter(place, children[index].name) : -1;
        if (back < 0)
            reason = ENOTEMPTY;
        else if (remove_hollow(store, place) != 0)
            reason = errno;
        if (back >= 0)
            leave(place, back);
    }
    free_children(children, count);
    if (reason == 0 && unlinkat(store->objects, place->text, AT_REMOVEDIR) != 0 && errno != ENOENT)
        reason = errno;
    errno = reason;
    return reason == 0 ? 0 : -1;
}

int holds_object(struct store *store, struct place *place) {
    struct child *children;
    size_t count;
    if (read_children(store->objects, folder_name(place), &children, &count) != 0)
        return is_absence(errno) ? 0 : -1;
    int found = 0, reason = 0;
    for (size_t index = 0; !found && index < count; index++)
        found = !children[index].is_folder;
    for (size_t index = 0; !found && index < count; index++) {
        int back = enter(place, children[index].name);
        if (back >= 0) {
            found = holds_object(store, place);
            reason = errno;
            leave(place, back);
        }
    }
    free_children(children, count);
    errno = reason;
    return found;
}

struct docker_registry_info info_of(const struct stat *facts, char etag[64]) {
    uint64_t modified = (uint64_t)facts->st_mtim.tv_sec * 1000000000U + (uint64_t)facts->st_mtim.tv_nsec;
    snprintf(etag, 64, "%llx-%llx-%llx", (unsigned long long)modified, (unsigned long long)facts->st_ino,
             (unsigned long long)facts->st_size);
    struct docker_registry_info info = {
        .size = (uint64_t)facts->st_size,
        .modified_nanos = modified,
        .etag = docker_registry_text_of(etag),
    };
    return info;
}
