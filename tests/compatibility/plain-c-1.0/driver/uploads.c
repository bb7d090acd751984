/*
 * Uploads: content that becomes an object in steps, each of which may happen in another process.
 *
 *   uploads/ID/1, 2, ...    what the first, second, ... append brought
 *   uploads/ID/HEX          what an append that is under way has received, or one left that did not end
 *
 * The state of an upload is "ID GENERATION OFFSET". Appends work beside each other, each on a file of its own; the one
 * that ends first gives its file the name of the next generation, and with that every other state of the same
 * generation is stale. So a stale caller never touches a byte of the winner, and nobody waits for somebody who hangs.
 *
 * Generations are given, and uploads ended, under a lock on the folder, which dies with the process that holds it.
 */
#include "store.h"

#include <sys/file.h>

/* A state, taken apart, and the open folder of the upload. */
struct upload {
    char id[NAME_BYTES];
    unsigned long long generation;
    unsigned long long offset;
    int folder;
};

/* Name of the file of a generation. */
struct generation_name {
    char text[24];
};

static struct generation_name name_of(unsigned long long generation) {
    struct generation_name name;
    snprintf(name.text, sizeof name.text, "%llu", generation);
    return name;
}

static uint32_t fail_stale(call_t *call) {
    return docker_registry_fail(call, DOCKER_REGISTRY_CONFLICT, "the upload has gone on from this state");
}

static uint32_t fail_gone(call_t *call) {
    return docker_registry_fail(call, DOCKER_REGISTRY_NOT_FOUND, "there is no such upload");
}

/* Takes a state apart; 0 when it is one of this driver's. The id becomes a file name, so it is looked at closely. */
static int parse(struct docker_registry_bytes state, struct upload *upload) {
    char text[96];
    if (state.length >= sizeof text)
        return -1;
    memcpy(text, state.data, state.length);
    text[state.length] = '\0';
    if (sscanf(text, "%32[0-9a-f] %llu %llu", upload->id, &upload->generation, &upload->offset) != 3)
        return -1;
    return strlen(upload->id) == NAME_BYTES - 1 ? 0 : -1;
}

static uint32_t put_state(call_t *call, const char *id, unsigned long long generation, unsigned long long offset) {
    char text[96];
    int length = snprintf(text, sizeof text, "%s %llu %llu", id, generation, offset);
    return docker_registry_put_bytes(call, text, (size_t)length);
}

/* Finds an upload by a state of it. The folder is open afterwards when it succeeds. */
static uint32_t find(call_t *call, struct store *store, struct docker_registry_bytes state, struct upload *upload) {
    if (parse(state, upload) != 0)
        return docker_registry_fail(call, DOCKER_REGISTRY_CONFLICT, "the upload state is not one of this driver's");
    upload->folder = openat(store->uploads, upload->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (upload->folder < 0)
        return errno == ENOENT ? fail_gone(call) : docker_registry_fail_errno(call, errno, "upload");
    return DOCKER_REGISTRY_OK;
}

/* Whether the state is still the latest. Under the lock it stays so. */
static uint32_t check_latest(call_t *call, const struct upload *upload) {
    if (faccessat(upload->folder, name_of(upload->generation + 1).text, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return fail_stale(call);
    /* Its newest file is gone when the upload has been committed or aborted and its folder is about to go. */
    if (errno == ENOENT && (upload->generation == 0 || faccessat(upload->folder, name_of(upload->generation).text,
                                                                 F_OK, AT_SYMLINK_NOFOLLOW) == 0))
        return DOCKER_REGISTRY_OK;
    return errno == ENOENT ? fail_gone(call) : docker_registry_fail_errno(call, errno, "upload");
}

static uint32_t lock(call_t *call, const struct upload *upload) {
    while (flock(upload->folder, LOCK_EX) != 0)
        if (errno != EINTR)
            return docker_registry_fail_errno(call, errno, "flock");
    struct stat facts;
    /* The upload may have ended while this waited. */
    if (fstat(upload->folder, &facts) != 0)
        return docker_registry_fail_errno(call, errno, "stat");
    return facts.st_nlink == 0 ? fail_gone(call) : DOCKER_REGISTRY_OK;
}

/* Removes the files and the folder of an upload that has ended. 0 when the folder is gone. */
static int remove_upload(struct store *store, const struct upload *upload) {
    for (int attempt = 0; attempt < 3; attempt++) {
        struct child *children;
        size_t count;
        if (read_children(store->uploads, upload->id, &children, &count) != 0)
            return errno == ENOENT ? 0 : -1;
        for (size_t index = 0; index < count; index++)
            unlinkat(upload->folder, children[index].name, 0);
        free_children(children, count);
        if (unlinkat(store->uploads, upload->id, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        /* An append that does not know yet may have made a file in it. */
    }
    return -1;
}

uint32_t upload_open(call_t *call, void *instance, const struct docker_registry_upload_hint *hint) {
    struct store *store = instance;
    char id[NAME_BYTES];
    (void)hint;
    if (random_name(call, id) != DOCKER_REGISTRY_OK)
        return DOCKER_REGISTRY_FAILED;
    /* Not synced: an upload without bytes has nothing to lose, and the first append does it. */
    if (mkdirat(store->uploads, id, 0777) != 0)
        return docker_registry_fail_errno(call, errno, "upload");
    return put_state(call, id, 0, 0);
}

/* Writes the body to a file. */
static uint32_t receive(call_t *call, int file, uint64_t *received) {
    char *buffer = malloc(BUFFER_BYTES);
    if (!buffer)
        return docker_registry_fail_errno(call, ENOMEM, "append");
    uint32_t result;
    size_t filled = 0;
    do {
        result = docker_registry_body_read(call, buffer, BUFFER_BYTES, &filled);
        if (result == DOCKER_REGISTRY_OK)
            result = write_all(call, file, buffer, filled);
        *received += filled;
    } while (result == DOCKER_REGISTRY_OK && filled > 0);
    free(buffer);
    return result;
}

/* Makes a received file the next generation. */
static uint32_t advance(call_t *call, struct store *store, struct upload *upload, const char *name) {
    uint32_t result = lock(call, upload);
    if (result == DOCKER_REGISTRY_OK)
        result = check_latest(call, upload);
    if (result != DOCKER_REGISTRY_OK)
        return result;
    struct generation_name next = name_of(upload->generation + 1);
    if (renameat2(upload->folder, name, upload->folder, next.text, RENAME_NOREPLACE) != 0) {
        if (errno == ENOENT)
            return fail_gone(call);
        return errno == EEXIST ? fail_stale(call) : docker_registry_fail_errno(call, errno, "rename");
    }
    if (fsync(upload->folder) == 0 && fsync(store->uploads) == 0)
        return DOCKER_REGISTRY_OK;
    struct docker_registry_error error = {
        .flags = DOCKER_REGISTRY_ERROR_OUTCOME_UNKNOWN,
        .message = docker_registry_text_of("the bytes are there and may not survive a power cut"),
    };
    return docker_registry_fail_with(call, DOCKER_REGISTRY_UNAVAILABLE, &error);
}

uint32_t upload_append(call_t *call, void *instance, struct docker_registry_bytes state, uint64_t expected_offset,
                       uint64_t *offset) {
    struct store *store = instance;
    struct upload upload;
    char name[NAME_BYTES];
    uint32_t result = find(call, store, state, &upload);
    if (result != DOCKER_REGISTRY_OK)
        return result;
    if (upload.offset != expected_offset)
        result = docker_registry_fail(call, DOCKER_REGISTRY_CONFLICT, "the upload stands at another offset");
    else
        result = check_latest(call, &upload);
    int file = result == DOCKER_REGISTRY_OK ? new_file(call, upload.folder, name) : -1;
    if (file < 0) {
        close(upload.folder);
        return result == DOCKER_REGISTRY_OK ? DOCKER_REGISTRY_FAILED : result;
    }
    uint64_t received = 0;
    result = receive(call, file, &received);
    if (result == DOCKER_REGISTRY_OK)
        result = finish_file(call, file);
    if (result == DOCKER_REGISTRY_OK)
        result = advance(call, store, &upload, name);
    if (result == DOCKER_REGISTRY_OK) {
        *offset = upload.offset + received;
        result = put_state(call, upload.id, upload.generation + 1, *offset);
    } else {
        unlinkat(upload.folder, name, 0);
    }
    close(file);
    close(upload.folder);
    return result;
}

/* Puts the content of all generations into one temporary file. Returns its descriptor, or -1. */
static int join(call_t *call, struct store *store, const struct upload *upload, char name[NAME_BYTES]) {
    int whole = new_file(call, store->temporary, name);
    uint32_t result = whole < 0 ? DOCKER_REGISTRY_FAILED : DOCKER_REGISTRY_OK;
    for (unsigned long long generation = 1; result == DOCKER_REGISTRY_OK && generation <= upload->generation;
         generation++) {
        int part = openat(upload->folder, name_of(generation).text, O_RDONLY | O_CLOEXEC);
        if (part < 0) {
            result = errno == ENOENT ? fail_gone(call) : docker_registry_fail_errno(call, errno, "commit");
        } else {
            result = copy_all(call, part, whole);
            close(part);
        }
    }
    if (whole >= 0 && result != DOCKER_REGISTRY_OK) {
        unlinkat(store->temporary, name, 0);
        close(whole);
        return -1;
    }
    return whole;
}

/* Publishes the content of an upload whose lock is held. */
static uint32_t commit_locked(call_t *call, struct store *store, const struct upload *upload, text_t final_path,
                              uint32_t condition) {
    char name[NAME_BYTES];
    /* One append is the usual case, and its file becomes the object without a copy. */
    int is_single = upload->generation == 1;
    int file = is_single ? openat(upload->folder, "1", O_RDWR | O_CLOEXEC) : join(call, store, upload, name);
    if (file < 0)
        return !is_single ? DOCKER_REGISTRY_FAILED : errno == ENOENT ? fail_gone(call) : fail_lookup(call);
    struct stat facts;
    uint32_t result = finish_file(call, file);
    if (result == DOCKER_REGISTRY_OK && fstat(file, &facts) != 0)
        result = docker_registry_fail_errno(call, errno, "stat");
    if (result == DOCKER_REGISTRY_OK && (unsigned long long)facts.st_size != upload->offset)
        result = docker_registry_fail(call, DOCKER_REGISTRY_CORRUPT, "the upload has lost acknowledged bytes");
    if (result == DOCKER_REGISTRY_OK)
        result = publish(call, store, is_single ? upload->folder : store->temporary, is_single ? "1" : name,
                         final_path.data, condition);
    if (result == DOCKER_REGISTRY_OK) {
        char etag[64];
        struct docker_registry_info info = info_of(&facts, etag);
        result = docker_registry_put_info(call, &info);
    } else if (!is_single) {
        unlinkat(store->temporary, name, 0);
    }
    close(file);
    return result;
}

uint32_t upload_commit(call_t *call, void *instance, struct docker_registry_bytes state, text_t final_path,
                       const struct docker_registry_condition *condition) {
    struct store *store = instance;
    struct upload upload;
    uint32_t result = find(call, store, state, &upload);
    if (result != DOCKER_REGISTRY_OK)
        return result;
    result = lock(call, &upload);
    if (result == DOCKER_REGISTRY_OK)
        result = check_latest(call, &upload);
    if (result == DOCKER_REGISTRY_OK)
        result = commit_locked(call, store, &upload, final_path, condition->kind);
    if (result == DOCKER_REGISTRY_OK && remove_upload(store, &upload) != 0)
        docker_registry_log(call->host, DOCKER_REGISTRY_LOG_WARNING, "the folder of a committed upload stays");
    close(upload.folder);
    return result;
}

uint32_t upload_abort(call_t *call, void *instance, struct docker_registry_bytes state) {
    struct store *store = instance;
    struct upload upload;
    uint32_t result = parse(state, &upload) == 0 ? find(call, store, state, &upload) : DOCKER_REGISTRY_NOT_FOUND;
    /* A foreign state names no upload of ours, so there is nothing to discard. */
    if (result == DOCKER_REGISTRY_NOT_FOUND)
        return DOCKER_REGISTRY_OK;
    if (result != DOCKER_REGISTRY_OK)
        return result;
    result = lock(call, &upload);
    if (result == DOCKER_REGISTRY_NOT_FOUND)
        result = DOCKER_REGISTRY_OK;
    else if (result == DOCKER_REGISTRY_OK && remove_upload(store, &upload) != 0)
        result = docker_registry_fail(call, DOCKER_REGISTRY_UNAVAILABLE, "the upload was not removed");
    close(upload.folder);
    return result;
}

/* The facts of one pending upload, from the files in its folder: 1 when it is there, 0 when not, -1 with errno. */
static int look_at(struct store *store, struct upload *upload, uint64_t *touched) {
    struct child *children;
    size_t count;
    struct stat facts;
    upload->generation = upload->offset = *touched = 0;
    upload->folder = openat(store->uploads, upload->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (upload->folder < 0)
        return is_absence(errno) ? 0 : -1;
    if (read_children(store->uploads, upload->id, &children, &count) != 0) {
        int reason = errno;
        close(upload->folder);
        errno = reason;
        return is_absence(reason) ? 0 : -1;
    }
    int reason = 0;
    for (size_t index = 0; reason == 0 && index <= count; index++) {
        const char *name = index < count ? children[index].name : ".";
        if (fstatat(upload->folder, name, &facts, AT_SYMLINK_NOFOLLOW) != 0) {
            reason = errno == ENOENT ? 0 : errno;
            continue;
        }
        char etag[64];
        uint64_t modified = info_of(&facts, etag).modified_nanos;
        *touched = modified > *touched ? modified : *touched;
        /* The names of unfinished files are longer than any number. */
        if (index == count || strlen(name) == NAME_BYTES - 1)
            continue;
        unsigned long long generation = strtoull(name, NULL, 10);
        upload->generation = generation > upload->generation ? generation : upload->generation;
        upload->offset += (unsigned long long)facts.st_size;
    }
    free_children(children, count);
    close(upload->folder);
    errno = reason;
    return reason == 0 ? 1 : -1;
}

static int by_id(const void *left, const void *right) {
    return strcmp(((const struct child *)left)->name, ((const struct child *)right)->name);
}

/* In the order of the ids, which are the cursors. */
uint32_t upload_list(call_t *call, void *instance, const struct docker_registry_uploads_request *request) {
    struct store *store = instance;
    struct child *children;
    size_t count;
    if (read_children(store->uploads, ".", &children, &count) != 0)
        return docker_registry_fail_errno(call, errno, "list uploads");
    if (count > 0)
        qsort(children, count, sizeof *children, by_id);
    const char *after = request->after.data ? request->after.data : "";
    const char *last = NULL;
    uint32_t result = DOCKER_REGISTRY_OK, given = 0;
    for (size_t index = 0; result == DOCKER_REGISTRY_OK && index < count; index++) {
        struct upload upload;
        uint64_t touched;
        if (strcmp(children[index].name, after) <= 0 || strlen(children[index].name) != NAME_BYTES - 1)
            continue;
        memcpy(upload.id, children[index].name, NAME_BYTES);
        int found = look_at(store, &upload, &touched);
        if (found < 0) {
            result = docker_registry_fail_errno(call, errno, "list uploads");
            break;
        }
        if (found == 0 || touched >= request->older_than_nanos)
            continue;
        if (given == request->limit) {
            result = docker_registry_put_next(call, docker_registry_text_of(last));
            break;
        }
        char state[96];
        int length = snprintf(state, sizeof state, "%s %llu %llu", upload.id, upload.generation, upload.offset);
        result = docker_registry_put_upload(call, state, (size_t)length, touched, upload.offset);
        last = children[index].name;
        given++;
    }
    free_children(children, count);
    return result;
}
