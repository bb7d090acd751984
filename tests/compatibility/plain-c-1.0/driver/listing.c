/* Listings: pages of entries in byte order of the full paths. */
#include "store.h"

/* One page while it is filled. */
struct page {
    call_t *call;
    struct store *store;
    /* The folder that is being read, and for a moment each of its children. */
    struct place place;
    const char *after;
    int recursive;
    uint32_t limit;
    uint32_t count;
    /* The last path that was put. */
    char last[DOCKER_REGISTRY_MAX_PATH_BYTES + 1];
};

/* The page is full and there is more. No failure, but an end like one; no number of a failure is so large. */
enum { PAGE_IS_FULL = 1000 };

int read_children(int at, const char *name, struct child **children, size_t *count) {
    *children = NULL;
    *count = 0;
    int folder = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *entries = folder < 0 ? NULL : fdopendir(folder);
    if (!entries) {
        int reason = errno;
        if (folder >= 0)
            close(folder);
        errno = reason;
        return -1;
    }
    size_t capacity = 0;
    int reason = 0;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            struct child *larger = realloc(*children, capacity * sizeof **children);
            if (!larger) {
                reason = ENOMEM;
                break;
            }
            *children = larger;
        }
        int is_folder = entry->d_type == DT_DIR;
        struct stat facts;
        /* Some file systems do not tell. */
        if (entry->d_type == DT_UNKNOWN) {
            if (fstatat(folder, entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0) {
                is_folder = S_ISDIR(facts.st_mode);
            } else if (errno == ENOENT) {
                continue;
            } else {
                reason = errno;
                break;
            }
        }
        struct child *child = &(*children)[*count];
        child->name = strdup(entry->d_name);
        child->is_folder = is_folder;
        if (!child->name) {
            reason = ENOMEM;
            break;
        }
        *count += 1;
    }
    if (!entry && errno != 0)
        reason = errno;
    closedir(entries);
    if (reason == 0)
        return 0;
    free_children(*children, *count);
    errno = reason;
    return -1;
}

void free_children(struct child *children, size_t count) {
    for (size_t index = 0; index < count; index++)
        free(children[index].name);
    free(children);
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const struct child *)left)->name, ((const struct child *)right)->name);
}

/*
 * The order of everything below: what is in a folder `a` begins with `a/`, so the folder stands where `a/` does, behind
 * an object `a-b`. strcmp compares bytes without a sign, as the API asks for.
 */
static int by_contents(const void *left, const void *right) {
    const struct child *one = left, *other = right;
    size_t index = 0;
    while (one->name[index] && one->name[index] == other->name[index])
        index++;
    unsigned char from_one = (unsigned char)one->name[index], from_other = (unsigned char)other->name[index];
    if (!from_one && one->is_folder)
        from_one = '/';
    if (!from_other && other->is_folder)
        from_other = '/';
    return (int)from_one - (int)from_other;
}

/* Puts the place where the walk stands. */
static uint32_t put_entry(struct page *page, const struct stat *facts) {
    if (page->count == page->limit) {
        uint32_t result = docker_registry_put_next(page->call, docker_registry_text_of(page->last));
        return result == DOCKER_REGISTRY_OK ? PAGE_IS_FULL : result;
    }
    page->count++;
    snprintf(page->last, sizeof page->last, "%.*s", DOCKER_REGISTRY_MAX_PATH_BYTES, page->place.text);
    char etag[64];
    struct docker_registry_info info;
    if (facts)
        info = info_of(facts, etag);
    return docker_registry_put_entry(page->call, docker_registry_text_of(page->place.text), facts ? &info : NULL);
}

/* Whether everything below the folder stands at or before the cursor. */
static int is_passed(const struct page *page, const char *folder) {
    size_t length = strlen(folder);
    if (strncmp(page->after, folder, length) == 0 && page->after[length] == '/')
        return 0;
    struct child cursor = {.name = (char *)page->after}, below = {.name = (char *)folder, .is_folder = 1};
    return by_contents(&below, &cursor) < 0;
}

static uint32_t list_folder(struct page *page);

/* Lists a child, where the walk stands now. */
static uint32_t list_child(struct page *page, int is_folder) {
    struct stat facts;
    if (is_folder && page->recursive)
        return is_passed(page, page->place.text) ? DOCKER_REGISTRY_OK : list_folder(page);
    if (strcmp(page->place.text, page->after) <= 0)
        return DOCKER_REGISTRY_OK;
    if (is_folder) {
        int found = holds_object(page->store, &page->place);
        if (found < 0)
            return docker_registry_fail_errno(page->call, errno, "list");
        return found ? put_entry(page, NULL) : DOCKER_REGISTRY_OK;
    }
    if (fstatat(page->store->objects, page->place.text, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        /* It may be gone since its name was read. */
        return is_absence(errno) ? DOCKER_REGISTRY_OK : docker_registry_fail_errno(page->call, errno, "list");
    return S_ISREG(facts.st_mode) ? put_entry(page, &facts) : DOCKER_REGISTRY_OK;
}

/* Lists what is in the folder where the walk stands. */
static uint32_t list_folder(struct page *page) {
    struct child *children;
    size_t count;
    if (docker_registry_is_cancelled(page->call))
        return docker_registry_fail(page->call, DOCKER_REGISTRY_TIMEOUT, "nobody waits for the listing any more");
    if (read_children(page->store->objects, folder_name(&page->place), &children, &count) != 0)
        /* A folder that is not there, or not any more, is an empty one. */
        return is_absence(errno) ? DOCKER_REGISTRY_OK : docker_registry_fail_errno(page->call, errno, "list");
    if (count > 0)
        qsort(children, count, sizeof *children, page->recursive ? by_contents : by_name);
    uint32_t result = DOCKER_REGISTRY_OK;
    for (size_t index = 0; result == DOCKER_REGISTRY_OK && index < count; index++) {
        int back = enter(&page->place, children[index].name);
        if (back >= 0) {
            result = list_child(page, children[index].is_folder);
            leave(&page->place, back);
        }
    }
    free_children(children, count);
    return result;
}

uint32_t object_list(call_t *call, void *instance, const struct docker_registry_list_request *request) {
    struct page page = {
        .call = call,
        .store = instance,
        .place = place_of(request->prefix),
        .after = request->after.data ? request->after.data : "",
        .recursive = request->recursive != 0,
        .limit = request->limit,
    };
    uint32_t result = list_folder(&page);
    return result == PAGE_IS_FULL ? DOCKER_REGISTRY_OK : result;
}
