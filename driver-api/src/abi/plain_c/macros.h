/*
 * Names the driver of this library: NAME is written without quotes, in lower-case letters, digits and `_`; VERSION
 * is a string, as "1.2.0"; TABLE is a static `struct docker_registry_driver`. Exactly one for each library, with a
 * semicolon behind it.
 *
 * It records name and versions in an ELF note, which the server reads before it runs anything of the library, and
 * exports the table.
 */
#define DOCKER_REGISTRY_DRIVER(NAME, VERSION, TABLE)                                                                \
    __asm__(".pushsection .note.docker-registry-driver, \"a\", %note\n"                                             \
            ".balign 4\n"                                                                                           \
            ".long 2f - 1f, 4f - 3f, 1\n"                                                                           \
            "1: .asciz \"docker-registry-driver\"\n"                                                                \
            "2: .balign 4\n"                                                                                        \
            "3: .ascii \"name=" #NAME "\\napi=" DOCKER_REGISTRY_API "\\nversion=" VERSION "\\nflags=plain-c\\n\"\n" \
            "4: .balign 4\n"                                                                                        \
            ".popsection\n");                                                                                       \
    DOCKER_REGISTRY_EXPORT const struct docker_registry_driver *const docker_registry_driver_##NAME;                \
    __attribute__((used))                                                                                           \
    const struct docker_registry_driver *const docker_registry_driver_##NAME = &(TABLE)

/* Version of the API as text, as in the note. */
#define DOCKER_REGISTRY_API DOCKER_REGISTRY_VERSION_TEXT(DOCKER_REGISTRY_API_MAJOR, DOCKER_REGISTRY_API_MINOR)
#define DOCKER_REGISTRY_VERSION_TEXT(MAJOR, MINOR) DOCKER_REGISTRY_TEXT(MAJOR) "." DOCKER_REGISTRY_TEXT(MINOR)
#define DOCKER_REGISTRY_TEXT(WORD) #WORD

#ifdef __cplusplus
#define DOCKER_REGISTRY_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define DOCKER_REGISTRY_EXPORT extern __attribute__((visibility("default")))
#endif

#define DOCKER_REGISTRY_INLINE static inline __attribute__((unused))

/* A C string as a text; null as no text. */
DOCKER_REGISTRY_INLINE struct docker_registry_text docker_registry_text_of(const char *string) {
    struct docker_registry_text text = {string, string ? strlen(string) : 0};
    return text;
}

/* Describes a failure and returns `code`, for `return docker_registry_fail_with(...)`. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_fail_with(struct docker_registry_call *call, uint32_t code,
                                                          const struct docker_registry_error *error) {
    return call->functions->fail(call, code, error);
}

/* The same with one sentence for an operator, without secrets. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_fail(struct docker_registry_call *call, uint32_t code,
                                                     const char *message) {
    struct docker_registry_error error;
    memset(&error, 0, sizeof error);
    error.message = docker_registry_text_of(message);
    return docker_registry_fail_with(call, code, &error);
}

/*
 * Describes the failure of a system call by its errno and returns the number that stands for it, as
 * DOCKER_REGISTRY_NOT_FOUND for ENOENT. `doing` says what failed, as "write"; null when that is plain.
 */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_fail_errno(struct docker_registry_call *call, int number,
                                                           const char *doing) {
    return call->functions->fail_errno(call, number, docker_registry_text_of(doing));
}

/* 1 when nobody waits for the call any more or its deadline has passed: fail with DOCKER_REGISTRY_TIMEOUT. */
DOCKER_REGISTRY_INLINE int docker_registry_is_cancelled(struct docker_registry_call *call) {
    return call->functions->is_cancelled(call) != 0;
}

/* Milliseconds until the deadline of the call; 0 when it has passed, UINT64_MAX without one. */
DOCKER_REGISTRY_INLINE uint64_t docker_registry_remaining_millis(struct docker_registry_call *call) {
    return call->functions->remaining_millis(call);
}

/* Offset and length of a range in an object of `object_size` bytes, or DOCKER_REGISTRY_INVALID_RANGE. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_resolve_range(struct docker_registry_call *call,
                                                              const struct docker_registry_range *range,
                                                              uint64_t object_size, uint64_t *offset,
                                                              uint64_t *length) {
    return call->functions->resolve_range(call, range, object_size, offset, length);
}

/*
 * In `append`: waits for bytes of the body and writes at most `capacity` of them to `buffer` and their number to
 * `filled`, which is 0 at the end of the body only. Another result than DOCKER_REGISTRY_OK means that the body
 * failed: leave the upload as it was and return the result.
 */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_body_read(struct docker_registry_call *call, void *buffer,
                                                          size_t capacity, size_t *filled) {
    return call->functions->body_read(call, buffer, capacity, filled);
}

/* Answers with bytes, behind those that were put before: a content, a state, an address. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_bytes(struct docker_registry_call *call, const void *data,
                                                          size_t length) {
    struct docker_registry_bytes bytes = {data, length};
    return call->functions->put_bytes(call, bytes);
}

/* Answers with the facts of an object. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_info(struct docker_registry_call *call,
                                                         const struct docker_registry_info *info) {
    return call->functions->put_info(call, info);
}

/* In `stat`: answers that the path is a folder. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_folder(struct docker_registry_call *call) {
    return call->functions->put_folder(call);
}

/*
 * In `list`: answers with an entry, by its whole path. `info` is null for a folder; its tag may be left out. Not
 * more entries than the limit.
 */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_entry(struct docker_registry_call *call,
                                                          struct docker_registry_text path,
                                                          const struct docker_registry_info *info) {
    return call->functions->put_entry(call, path, info);
}

/* In `list` and `list_uploads`: there is a next page, and it begins behind this text. */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_next(struct docker_registry_call *call,
                                                         struct docker_registry_text after) {
    return call->functions->put_next(call, after);
}

/*
 * In `list_uploads`: answers with a pending upload. The state is one that `abort_upload` accepts, `touched_nanos` is
 * when the upload was opened or last appended to, in nanoseconds since 1970, `upload_size` its durable bytes.
 */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_upload(struct docker_registry_call *call, const void *state,
                                                           size_t state_length, uint64_t touched_nanos,
                                                           uint64_t upload_size) {
    struct docker_registry_bytes bytes = {state, state_length};
    return call->functions->put_upload(call, bytes, touched_nanos, upload_size);
}

/*
 * In `remove_many`: answers that an object was not removed, with the number of the failure. Without `error` the last
 * docker_registry_fail says why.
 */
DOCKER_REGISTRY_INLINE uint32_t docker_registry_put_failure(struct docker_registry_call *call,
                                                            struct docker_registry_text path, uint32_t code,
                                                            const struct docker_registry_error *error) {
    return call->functions->put_failure(call, path, code, error);
}

/* The value of a key, or null when it is absent and has no default. */
DOCKER_REGISTRY_INLINE const struct docker_registry_setting *
docker_registry_find_setting(const struct docker_registry_settings *settings, const char *name) {
    size_t index;
    for (index = 0; index < settings->count; index++)
        if (strcmp(settings->settings[index].name.data, name) == 0)
            return &settings->settings[index];
    return NULL;
}

/* Writes a line to the server's log, with a level as DOCKER_REGISTRY_LOG_INFO. From any thread, at any time. */
DOCKER_REGISTRY_INLINE void docker_registry_log(const struct docker_registry_host *host, uint32_t level,
                                                const char *line) {
    if (level <= host->log_level(host))
        host->log(host, level, docker_registry_text_of(line));
}

/*
 * Adds to a counter that the server publishes with its metrics. Its name is in snake case and says what is counted,
 * as "token_renewals". From any thread, at any time.
 */
DOCKER_REGISTRY_INLINE void docker_registry_count(const struct docker_registry_host *host, const char *counter,
                                                  uint64_t amount) {
    host->count(host, docker_registry_text_of(counter), amount);
}

#endif /* DOCKER_REGISTRY_DRIVER_H */
