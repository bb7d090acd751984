/*
 * The example driver: objects as files in a folder.
 *
 *   ROOT/objects/PATH         the objects, each a file at its own path
 *   ROOT/uploads/ID/...       pending uploads; see uploads.c
 *   ROOT/temporary/ID/...     files that are being written; see temporary.c
 *
 * All three lie on one file system, so that a finished file gets its place by one rename. Names are looked up from
 * three open folders, never from the root's path: moving the root does no harm to a running server.
 *
 * Each function returns DOCKER_REGISTRY_OK or a failure that it has described already, unless it says otherwise.
 */
#ifndef STORE_H
#define STORE_H

/* For renameat2(2); so this file comes before all headers of the system. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "docker_registry_driver.h"

/* Longest name of a temporary file and of an upload, with its zero byte. */
enum { NAME_BYTES = 33 };
/* Bytes that are read and written at once. */
enum { BUFFER_BYTES = 256 * 1024 };

/* An open store: what `open` hands out as the instance. The folders never change, so that no lock is needed. */
struct store {
    int objects;
    int uploads;
    /* The folder of this store's own temporary files. */
    int temporary;
    /* The folder that it lies in, and its name there. */
    int all_temporary;
    char temporary_name[NAME_BYTES];
};

/* The server lends every text with a zero byte behind it, and a path holds none in itself. */
typedef struct docker_registry_call call_t;
typedef struct docker_registry_text text_t;

/* temporary.c */

/* Removes what dead stores have left, and makes the folder of this one. */
uint32_t open_temporary(call_t *call, struct store *store);
/* Removes the folder of this store. */
void close_temporary(struct store *store);

/* places.c: names of files, and how a finished file becomes an object. */

/* Whether an errno says that nothing is there. Every other one says that nobody knows. */
int is_absence(int reason);
/* Fails by errno, where a file in the way of a folder means that there is nothing at the path. */
uint32_t fail_lookup(call_t *call);
/* Fails because nothing is there. */
uint32_t fail_not_found(call_t *call);
/*
 * A place in the objects, for walks: one buffer for all levels, so that a deep tree costs neither stack nor
 * descriptors. The empty text is the root.
 */
struct place {
    size_t length;
    char text[DOCKER_REGISTRY_MAX_PATH_BYTES + 258];
};
/* The place of a path. */
struct place place_of(text_t path);
/* The folder for openat(2): the text, or "." for the root. */
const char *folder_name(const struct place *place);
/* Goes to a child. Returns how to come back, or -1 where the path would be longer than any object's. */
int enter(struct place *place, const char *child);
/* Comes back. */
void leave(struct place *place, int back);
/* Fills in a name that nobody has: 32 random hex digits. */
uint32_t random_name(call_t *call, char name[NAME_BYTES]);
/* Makes an empty file with a random name in `folder`. Returns its descriptor, or -1 after describing the failure. */
int new_file(call_t *call, int folder, char name[NAME_BYTES]);
/* Writes all bytes. */
uint32_t write_all(call_t *call, int file, const void *data, size_t length);
/* Copies a file from its beginning to the place where `target` stands. */
uint32_t copy_all(call_t *call, int source, int target);
/* Makes the content of a finished file durable and gives it a time of change that no other file has. */
uint32_t finish_file(call_t *call, int file);
/*
 * Gives the finished file `name` in `folder` its place at `path`, replacing what is there when the condition says so.
 * When it fails, the file is where it was.
 */
uint32_t publish(call_t *call, struct store *store, int folder, const char *name, const char *path,
                 uint32_t condition);
/* Makes the names in a folder durable; a folder that is gone has none. -1 with errno when it cannot. */
int sync_folder(int at, const char *name);
/* Makes the names in the folder of an object and in the folders above it durable. -1 with errno when it cannot. */
int sync_names(struct store *store, const char *path);
/* Removes the folders of an object from the innermost on while they are empty, and syncs the one that stays. */
void prune(struct store *store, const char *path);
/* Removes a folder in which there are only folders; 0 when it is gone, -1 with errno, ENOTEMPTY for an object in it. */
int remove_hollow(struct store *store, struct place *place);
/* Whether there is an object anywhere in the folder: 1, 0, or -1 with errno when that cannot be found out. */
int holds_object(struct store *store, struct place *place);
/* The facts of a file. `etag` is the memory for the tag. */
struct docker_registry_info info_of(const struct stat *facts, char etag[64]);

/* objects.c */
uint32_t object_get(call_t *call, void *instance, text_t path, uint64_t max_size);
uint32_t object_put(call_t *call, void *instance, text_t path, struct docker_registry_bytes content,
                    const struct docker_registry_condition *condition);
uint32_t object_head(call_t *call, void *instance, text_t path);
uint32_t object_stat(call_t *call, void *instance, text_t path);
uint32_t object_read_open(call_t *call, void *instance, text_t path, const struct docker_registry_range *range,
                          struct docker_registry_reading *reading);
uint32_t object_copy(call_t *call, void *instance, text_t from, text_t to);
uint32_t object_rename(call_t *call, void *instance, text_t from, text_t to);

/* listing.c */

/* A child of a folder. */
struct child {
    char *name;
    int is_folder;
};
/* The children of a folder, not sorted; -1 with errno when it cannot be read. To be freed with free_children. */
int read_children(int at, const char *name, struct child **children, size_t *count);
void free_children(struct child *children, size_t count);
uint32_t object_list(call_t *call, void *instance, const struct docker_registry_list_request *request);

/* removing.c */
uint32_t object_remove(call_t *call, void *instance, text_t path);
uint32_t object_remove_many(call_t *call, void *instance, const text_t *paths, size_t count);
uint32_t object_remove_tree(call_t *call, void *instance, text_t prefix, uint64_t *removed);

/* uploads.c */
uint32_t upload_open(call_t *call, void *instance, const struct docker_registry_upload_hint *hint);
uint32_t upload_append(call_t *call, void *instance, struct docker_registry_bytes state, uint64_t expected_offset,
                       uint64_t *offset);
uint32_t upload_commit(call_t *call, void *instance, struct docker_registry_bytes state, text_t final_path,
                       const struct docker_registry_condition *condition);
uint32_t upload_abort(call_t *call, void *instance, struct docker_registry_bytes state);
uint32_t upload_list(call_t *call, void *instance, const struct docker_registry_uploads_request *request);

#endif
