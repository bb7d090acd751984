/*
 * docker_registry_driver.h: storage drivers for docker-registry in plain C.
 *
 * Generated with `cargo xtask header` from driver-api/src/abi/plain_c; do not edit.
 *
 * A driver is a shared library with one static `struct docker_registry_driver`, named in
 * DOCKER_REGISTRY_DRIVER(...). driver-api/examples/c is a complete one.
 *
 *   cc -shared -fPIC -O2 -o docker-registry-driver-NAME.so NAME.c
 *   docker-registry driver check ./docker-registry-driver-NAME.so --set KEY=VALUE
 *
 * Threads: functions of the driver are called on threads of the server, any number of them at once for one
 * instance. They may block, and have a stack of 8 MiB. A function gives up when docker_registry_is_cancelled says
 * so; a write that gives up may or may not have happened, but never by half. In C++ no exception may leave a
 * function: it would end the server.
 *
 * Memory: nobody frees what the other side allocated. What a function is given is lent until it returns; what it
 * answers with is copied by the docker_registry_put_ function before that returns. The one exception is the open
 * file of a reading, which passes to the server.
 *
 * Paths: 1 to 1024 bytes of UTF-8, segments joined by `/`, none at either end. No segment is empty, `.`, `..`,
 * longer than 255 bytes or holds a control character. The server has checked this. Paths that differ in a single
 * byte are different objects, and a listing returns each path byte for byte: nothing is folded, normalised or
 * decoded. A write to a path that the storage cannot keep fails with DOCKER_REGISTRY_INVALID_PATH and changes
 * nothing. Segments of up to 200 ASCII letters, digits, `.`, `_`, `-`, `%` and `+` can always be kept, save those that
 * begin with `.docker-registry`: they may be the driver's own. A folder is no object.
 *
 * Writes: a reader sees an object as it was before a write or after it, never between. When a write returns
 * DOCKER_REGISTRY_OK, it survives a crash of the process and, as far as the storage can promise it, of the machine.
 * A write whose fate is not known fails with DOCKER_REGISTRY_ERROR_OUTCOME_UNKNOWN.
 *
 * Versions: a driver that is built against any 1.x runs under any server of 1.x. Structs that begin with
 * `size_t size` may get fields at their end, all others never change.
 */


#ifndef DOCKER_REGISTRY_DRIVER_H
#define DOCKER_REGISTRY_DRIVER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct docker_registry_call;

// Version of the driver API that this header describes.
#define DOCKER_REGISTRY_API_MAJOR 1

// What was appended to a struct of this header says from which minor version on it is there.
#define DOCKER_REGISTRY_API_MINOR 2

// The call succeeded.
#define DOCKER_REGISTRY_OK 0

// There is no object, folder or upload at the path.
#define DOCKER_REGISTRY_NOT_FOUND 1

// The condition of a conditional write did not hold: nothing was written.
#define DOCKER_REGISTRY_CONDITION_FAILED 2

// Somebody else has moved on what the call works on: a stale upload state, an offset that is not the upload's,
// an object where a folder is needed. Nothing was changed.
#define DOCKER_REGISTRY_CONFLICT 3

// The storage cannot keep this path.
#define DOCKER_REGISTRY_INVALID_PATH 4

// The range has no byte of the object; see docker_registry_resolve_range.
#define DOCKER_REGISTRY_INVALID_RANGE 5

// A configuration value is missing or wrong; the message names the key.
#define DOCKER_REGISTRY_INVALID_CONFIGURATION 6

// The credentials are missing or wrong.
#define DOCKER_REGISTRY_UNAUTHENTICATED 7

// The credentials are right and do not suffice.
#define DOCKER_REGISTRY_PERMISSION_DENIED 8

// The storage asks for fewer calls. The server may make the call again.
#define DOCKER_REGISTRY_THROTTLED 9

// The storage cannot be reached or does not work now. The server may make the call again.
#define DOCKER_REGISTRY_UNAVAILABLE 10

// The deadline passed, or nobody waits any more. The server may make the call again.
#define DOCKER_REGISTRY_TIMEOUT 11

// The storage has no room left, or a quota is used up.
#define DOCKER_REGISTRY_STORAGE_FULL 12

// The object is larger than the caller allowed.
#define DOCKER_REGISTRY_TOO_LARGE 13

// The driver does not offer this.
#define DOCKER_REGISTRY_UNSUPPORTED 14

// What the storage returned cannot be right.
#define DOCKER_REGISTRY_CORRUPT 15

// docker_registry_body_read failed; hand its result on.
#define DOCKER_REGISTRY_BODY_FAILED 16

// A fault of the driver itself. A number that is not in this list counts as this one.
#define DOCKER_REGISTRY_INTERNAL 17

// The call failed as docker_registry_fail or its like has described last. For functions that fail at one place and
// return at another.
#define DOCKER_REGISTRY_FAILED 4294967295

// Of an error: the same call may succeed when it is made again without changes.
#define DOCKER_REGISTRY_ERROR_RETRYABLE (1 << 0)

// Of an error: the write may have taken effect although it failed.
#define DOCKER_REGISTRY_ERROR_OUTCOME_UNKNOWN (1 << 1)

// Of an error: `retry_after_millis` counts.
#define DOCKER_REGISTRY_ERROR_HAS_RETRY_AFTER (1 << 2)

// Of an error: making the same call again is in vain, also where the result's number says otherwise.
#define DOCKER_REGISTRY_ERROR_NOT_RETRYABLE (1 << 3)

// `put` and `commit` honour DOCKER_REGISTRY_IF_ABSENT atomically.
#define DOCKER_REGISTRY_CAN_PUT_IF_ABSENT (1 << 0)

// `put` and `commit` honour DOCKER_REGISTRY_IF_MATCH atomically.
#define DOCKER_REGISTRY_CAN_PUT_IF_MATCH (1 << 1)

// `read_open` hands out open files, which the server sends with sendfile(2).
#define DOCKER_REGISTRY_CAN_FILE_REGIONS (1 << 2)

// `redirect_url` may answer with an address.
#define DOCKER_REGISTRY_CAN_REDIRECT (1 << 3)

// What was written is visible to every reader at once, listings included.
#define DOCKER_REGISTRY_CAN_STRONG_CONSISTENCY (1 << 4)

// `rename` is one step, not a copy.
#define DOCKER_REGISTRY_CAN_CHEAP_RENAME (1 << 5)

// Uploads can go on in another process.
#define DOCKER_REGISTRY_CAN_RESUME_UPLOADS (1 << 6)

// `list_uploads` finds every pending upload.
#define DOCKER_REGISTRY_CAN_LIST_UPLOADS (1 << 7)

// A condition that always holds: what is there is replaced.
#define DOCKER_REGISTRY_ALWAYS 0

// Holds when nothing is there: of many such writers exactly one succeeds.
#define DOCKER_REGISTRY_IF_ABSENT 1

// Holds when the object there still has this tag.
#define DOCKER_REGISTRY_IF_MATCH 2

// All bytes.
#define DOCKER_REGISTRY_RANGE_FULL 0

// From the byte at `offset` to the end.
#define DOCKER_REGISTRY_RANGE_FROM 1

// At most `length` bytes from `offset`.
#define DOCKER_REGISTRY_RANGE_WINDOW 2

// The last bytes, at most `length` of them.
#define DOCKER_REGISTRY_RANGE_LAST 3

// A text, kept exactly as written.
#define DOCKER_REGISTRY_KIND_TEXT 1

// A whole number.
#define DOCKER_REGISTRY_KIND_INTEGER 2

// A number.
#define DOCKER_REGISTRY_KIND_FLOAT 3

// True or false.
#define DOCKER_REGISTRY_KIND_BOOLEAN 4

// A list of texts.
#define DOCKER_REGISTRY_KIND_LIST 5

// Of a key: the driver cannot open without it.
#define DOCKER_REGISTRY_KEY_REQUIRED (1 << 0)

// Of a key: the value must never be shown.
#define DOCKER_REGISTRY_KEY_SECRET (1 << 1)

// Of a call: nobody waits for the result (purges, garbage collection).
#define DOCKER_REGISTRY_CALL_BACKGROUND (1 << 0)

// Of a call: the trace fields count.
#define DOCKER_REGISTRY_CALL_HAS_TRACE (1 << 1)

// Of a call: what it writes or deletes has to outlive the process only, so a driver may leave out what it does for a
// power cut (`fsync`). Of `rename` this is said of the source alone: what is at `to` has to survive one. Since 1.2.
#define DOCKER_REGISTRY_CALL_TRANSIENT (1 << 2)

// A failure that an operator must act on.
#define DOCKER_REGISTRY_LOG_ERROR 1

// Something that will become one.
#define DOCKER_REGISTRY_LOG_WARNING 2

// A fact of normal work.
#define DOCKER_REGISTRY_LOG_INFO 3

// For the author of the driver.
#define DOCKER_REGISTRY_LOG_DEBUG 4

// Every step.
#define DOCKER_REGISTRY_LOG_TRACE 5

// Longest path, in bytes.
#define DOCKER_REGISTRY_MAX_PATH_BYTES 1024

// Longest state of an upload, in bytes.
#define DOCKER_REGISTRY_MAX_UPLOAD_STATE_BYTES 16384

// Longest tag, in bytes.
#define DOCKER_REGISTRY_MAX_ETAG_BYTES 1024

// Longest sentence of an error, of the log and of a description, in bytes. What is longer is cut; in a description
// it is refused.
#define DOCKER_REGISTRY_MAX_MESSAGE_BYTES 4096

// Text in UTF-8 that is lent: by the server for the length of one call, or by the driver for the length of one
// call of a function of the server. No data means that there is no text.
//
// Behind every text that the server lends stands a zero byte, which `length` does not count, so that it can be
// used as a C string. A text of the driver needs none.
struct docker_registry_text {
    // First byte, or null.
    const char *data;
    // Number of bytes.
    size_t length;
};

// Bytes that are lent, as in docker_registry_text, without a zero byte behind them.
struct docker_registry_bytes {
    // First byte, or null.
    const void *data;
    // Number of bytes.
    size_t length;
};

// What is known of one object.
struct docker_registry_info {
    // Size of the whole object in bytes.
    uint64_t size;
    // Time of the last change in nanoseconds since 1970; 0 when it is not known.
    uint64_t modified_nanos;
    // A text that changes whenever the content does; none where the storage has no such thing.
    struct docker_registry_text etag;
};

// More about a failure than its number.
struct docker_registry_error {
    // A set of DOCKER_REGISTRY_ERROR_RETRYABLE and its like.
    uint64_t flags;
    // How long the storage asked to wait, for DOCKER_REGISTRY_ERROR_HAS_RETRY_AFTER.
    uint64_t retry_after_millis;
    // One sentence for an operator, without secrets.
    struct docker_registry_text message;
    // Text of the underlying error, without secrets, or none.
    struct docker_registry_text source;
};

// When a write is to take effect.
struct docker_registry_condition {
    // DOCKER_REGISTRY_ALWAYS, DOCKER_REGISTRY_IF_ABSENT or DOCKER_REGISTRY_IF_MATCH. Fail with
    // DOCKER_REGISTRY_UNSUPPORTED for any other and for one that the driver cannot honour.
    uint32_t kind;
    // The tag, for DOCKER_REGISTRY_IF_MATCH.
    struct docker_registry_text etag;
};

// Which bytes of an object are wanted; see docker_registry_resolve_range.
struct docker_registry_range {
    // DOCKER_REGISTRY_RANGE_FULL and its like.
    uint32_t kind;
    // Offset of the first byte.
    uint64_t offset;
    // Number of bytes.
    uint64_t length;
};

// One configuration key of a driver. All texts are C strings that are there for ever.
struct docker_registry_key {
    // Name in the configuration: lower-case letters, digits and `_`.
    const char *name;
    // DOCKER_REGISTRY_KIND_TEXT and its like.
    uint32_t kind;
    // A set of DOCKER_REGISTRY_KEY_REQUIRED and DOCKER_REGISTRY_KEY_SECRET.
    uint32_t flags;
    // Value when the key is absent, written as in the configuration file, or null.
    const char *default_value;
    // Environment variable that the sample configuration reads it from, or null.
    const char *environment;
    // One sentence for an operator.
    const char *doc;
};

// One configured value. Its type is the one that the driver's key says; absent keys have got their defaults, and
// one without a default is not in the settings. A driver that another driver opens is given what that one wrote:
// look before you rely on a key.
struct docker_registry_setting {
    // Name of the key.
    struct docker_registry_text name;
    // DOCKER_REGISTRY_KIND_TEXT and its like; says which of the fields below counts.
    uint32_t kind;
    // 1 for true, 0 for false.
    uint32_t boolean;
    // The whole number.
    int64_t integer;
    // The number.
    double number;
    // The text.
    struct docker_registry_text text;
    // The texts of a list.
    const struct docker_registry_text *items;
    // Number of texts in the list.
    size_t item_count;
};

// The configuration that a driver is opened with. Lent until `open` returns.
struct docker_registry_settings {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // The values.
    const struct docker_registry_setting *settings;
    // Number of values.
    size_t count;
};

// What is to be listed.
struct docker_registry_list_request {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // The folder; the empty text is the storage root.
    struct docker_registry_text prefix;
    // 1: everything below the folder, objects only. 0: its direct children, objects and folders.
    uint32_t recursive;
    // Most entries wanted, 1 to 1000.
    uint32_t limit;
    // Only entries whose path is greater than this text, byte by byte; none for the first page. It is usually
    // the last path of the page before, and it need not exist (any more).
    struct docker_registry_text after;
};

// What is known when an upload begins. All of it may be wrong or missing.
struct docker_registry_upload_hint {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // Where the object will probably be committed, or none.
    struct docker_registry_text final_path;
    // How many bytes will probably come; UINT64_MAX when nobody knows.
    uint64_t expected_size;
};

// One page of pending uploads.
struct docker_registry_uploads_request {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // Only uploads that were opened or appended to before this time, in nanoseconds since 1970.
    uint64_t older_than_nanos;
    // The text that the driver gave to docker_registry_put_next for the page before, or none.
    struct docker_registry_text after;
    // Most uploads wanted, at least 1.
    uint32_t limit;
};

// What an address is wanted for.
struct docker_registry_redirect_request {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // The object.
    struct docker_registry_text path;
    // HTTP method that the client will use: `GET` or `HEAD`.
    struct docker_registry_text method;
    // How long the address is to work, in milliseconds.
    uint64_t expires_millis;
    // Names of the response headers that the storage is asked to send, lower-case.
    const struct docker_registry_text *header_names;
    // Their values, in the same order.
    const struct docker_registry_text *header_values;
    // Number of headers.
    size_t header_count;
};

// An object that was opened for reading. The server fills in `size`, -1 for `file` and zero for the rest; the
// driver fills in `offset`, `length`, and either `file` with `file_offset` or `handle`.
struct docker_registry_reading {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // Offset of the first byte in the object, as docker_registry_resolve_range says.
    uint64_t offset;
    // Number of bytes that will be read.
    uint64_t length;
    // An open regular file whose content does not change while it is open, or -1. It passes to the server, which
    // closes it, when `read_open` returns DOCKER_REGISTRY_OK, and at no other time. `read_next` and `read_close`
    // are then not called.
    int file;
    // Offset of the first byte in the file.
    uint64_t file_offset;
    // Without a file: what `read_next` and `read_close` get.
    void *handle;
};

// The server, as a driver sees it. It is there as long as the process, and its functions may be called from any
// thread at any time. Use docker_registry_log and docker_registry_count.
struct docker_registry_host {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // The server's own.
    const void *context;
    // Version of the API that the server speaks.
    uint32_t api_major;
    // A driver that uses what a later 1.x appended looks here first.
    uint32_t api_minor;
    // The most detailed level that is logged; 0 for none.
    uint32_t (*log_level)(const struct docker_registry_host *host);
    // See docker_registry_log.
    void (*log)(const struct docker_registry_host *host, uint32_t level, struct docker_registry_text line);
    // See docker_registry_count.
    void (*count)(const struct docker_registry_host *host,
                  struct docker_registry_text counter,
                  uint64_t amount);
};

// What a driver may do in a call. Each is explained at the function of the same name with
// `docker_registry_` in front, which is the way to use it.
struct docker_registry_call_functions {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // See docker_registry_fail_with.
    uint32_t (*fail)(struct docker_registry_call *call,
                     uint32_t code,
                     const struct docker_registry_error *error);
    // See docker_registry_fail_errno.
    uint32_t (*fail_errno)(struct docker_registry_call *call, int number, struct docker_registry_text doing);
    // See docker_registry_is_cancelled.
    uint32_t (*is_cancelled)(struct docker_registry_call *call);
    // See docker_registry_remaining_millis.
    uint64_t (*remaining_millis)(struct docker_registry_call *call);
    // See docker_registry_resolve_range.
    uint32_t (*resolve_range)(struct docker_registry_call *call,
                              const struct docker_registry_range *range,
                              uint64_t object_size,
                              uint64_t *offset,
                              uint64_t *length);
    // See docker_registry_body_read.
    uint32_t (*body_read)(struct docker_registry_call *call, void *buffer, size_t capacity, size_t *filled);
    // See docker_registry_put_bytes.
    uint32_t (*put_bytes)(struct docker_registry_call *call, struct docker_registry_bytes bytes);
    // See docker_registry_put_info.
    uint32_t (*put_info)(struct docker_registry_call *call, const struct docker_registry_info *info);
    // See docker_registry_put_folder.
    uint32_t (*put_folder)(struct docker_registry_call *call);
    // See docker_registry_put_entry.
    uint32_t (*put_entry)(struct docker_registry_call *call,
                          struct docker_registry_text path,
                          const struct docker_registry_info *info);
    // See docker_registry_put_next.
    uint32_t (*put_next)(struct docker_registry_call *call, struct docker_registry_text after);
    // See docker_registry_put_upload.
    uint32_t (*put_upload)(struct docker_registry_call *call,
                           struct docker_registry_bytes state,
                           uint64_t touched_nanos,
                           uint64_t upload_size);
    // See docker_registry_put_failure.
    uint32_t (*put_failure)(struct docker_registry_call *call,
                            struct docker_registry_text path,
                            uint32_t code,
                            const struct docker_registry_error *error);
};

// One call of a function of the driver. It belongs to the thread that the function was called on and is gone
// when the function returns.
struct docker_registry_call {
    // Size of this struct in the server's version, in bytes.
    size_t size;
    // The server's own.
    void *context;
    // What the driver may do in this call; use the functions of the same names in this header.
    const struct docker_registry_call_functions *functions;
    // The server.
    const struct docker_registry_host *host;
    // A set of DOCKER_REGISTRY_CALL_BACKGROUND, DOCKER_REGISTRY_CALL_HAS_TRACE and DOCKER_REGISTRY_CALL_TRANSIENT.
    uint64_t flags;
    // Trace id, as in the W3C `traceparent` header.
    uint8_t trace_id[16];
    // Span id of the caller.
    uint8_t span_id[8];
    // Trace flags in the lowest byte.
    uint64_t trace_flags;
};

// A driver: what it is, and its functions. Make one static of this type, zero in all that it does not offer, and
// name it in DOCKER_REGISTRY_DRIVER.
//
// A function returns DOCKER_REGISTRY_OK or the number of a failure, best by `return docker_registry_fail(...)`.
// What is marked as optional may be null; a library in which another function is null is not loaded.
struct docker_registry_driver {
    // `sizeof(struct docker_registry_driver)`.
    size_t size;
    // DOCKER_REGISTRY_API_MAJOR.
    uint32_t api_major;
    // DOCKER_REGISTRY_API_MINOR.
    uint32_t api_minor;
    // One line: what the driver stores in. A C string.
    const char *summary;
    // Licence of the driver, as an SPDX expression. A C string.
    const char *licence;
    // Every configuration key.
    const struct docker_registry_key *keys;
    // Number of keys.
    size_t key_count;
    // Connects to the storage and writes the driver's own pointer to `instance`, which every other function gets.
    // It may be called again with other settings while the first instance is open.
    //
    // Reach out far enough to find wrong settings now, not on the first request. Fail with
    // DOCKER_REGISTRY_INVALID_CONFIGURATION and the key in the message.
    uint32_t (*open)(struct docker_registry_call *call,
                     const struct docker_registry_settings *settings,
                     void **instance);
    // Ends the driver's work and frees the instance. Called once, when no other function is running or will be
    // called. Optional.
    void (*close)(void *instance);
    // What this open driver can do beyond the minimum: a set of DOCKER_REGISTRY_CAN_PUT_IF_ABSENT and its like.
    // Asked for once, after `open`. Optional: nothing.
    uint64_t (*capabilities)(void *instance);
    // Reads a small object whole: docker_registry_put_bytes with the content, in pieces if you like, and
    // docker_registry_put_info.
    //
    // DOCKER_REGISTRY_NOT_FOUND; DOCKER_REGISTRY_TOO_LARGE when the object has more than `max_size` bytes, found
    // before they are read into memory.
    uint32_t (*get)(struct docker_registry_call *call,
                    void *instance,
                    struct docker_registry_text path,
                    uint64_t max_size);
    // Writes a small object whole and atomically, making the folders it needs. Where the storage has tags,
    // docker_registry_put_info with the new one.
    //
    // DOCKER_REGISTRY_CONDITION_FAILED when the condition does not hold; DOCKER_REGISTRY_CONFLICT when a folder is
    // at the path or an object is where one of its folders would be, in stores that have folders.
    uint32_t (*put)(struct docker_registry_call *call,
                    void *instance,
                    struct docker_registry_text path,
                    struct docker_registry_bytes content,
                    const struct docker_registry_condition *condition);
    // Facts of exactly one object: docker_registry_put_info. A folder is DOCKER_REGISTRY_NOT_FOUND here.
    uint32_t (*head)(struct docker_registry_call *call, void *instance, struct docker_registry_text path);
    // What lies at a path: docker_registry_put_info for an object, docker_registry_put_folder for a folder with
    // at least one object somewhere below it. The empty path is the storage root, which is always a folder.
    //
    // DOCKER_REGISTRY_NOT_FOUND.
    uint32_t (*stat)(struct docker_registry_call *call, void *instance, struct docker_registry_text path);
    // Opens an object for reading: docker_registry_put_info, and the rest into `reading`. What was opened is not
    // disturbed by a replacement or deletion of the object: it yields the old content, or an error, but never a
    // mixture.
    //
    // DOCKER_REGISTRY_NOT_FOUND; DOCKER_REGISTRY_INVALID_RANGE, which docker_registry_resolve_range finds out.
    uint32_t (*read_open)(struct docker_registry_call *call,
                          void *instance,
                          struct docker_registry_text path,
                          const struct docker_registry_range *range,
                          struct docker_registry_reading *reading);
    // Reads on: at least one byte and at most `capacity` into `buffer`, their number into `filled`. Never called
    // for more bytes than the reading's length, and never twice at once for one handle. Optional for a driver
    // that hands out files only.
    uint32_t (*read_next)(struct docker_registry_call *call,
                          void *instance,
                          void *handle,
                          void *buffer,
                          size_t capacity,
                          size_t *filled);
    // Frees a handle, read to its end or not. Optional.
    void (*read_close)(void *instance, void *handle);
    // One page of a listing in byte order of the full paths: docker_registry_put_entry for each entry, and
    // docker_registry_put_next with the last path when there are more. A page may have fewer entries than were
    // asked for and still not be the last. What is added or deleted between two pages does not disturb the rest: an
    // entry that is there all the time is listed exactly once. A folder that does not exist is an empty page. A
    // folder `a` sorts as `a`.
    uint32_t (*list)(struct docker_registry_call *call,
                     void *instance,
                     const struct docker_registry_list_request *request);
    // Begins an upload: docker_registry_put_bytes with its first state.
    //
    // A state is all that another process needs to go on with the upload, and only the driver reads it. Nothing
    // is visible at any path before `commit` returns. A state belongs to one point of one upload: when two
    // callers go on from the same state, at most one gets DOCKER_REGISTRY_OK; the other gets
    // DOCKER_REGISTRY_CONFLICT and has changed nothing that the winner relies on. The later caller takes over from
    // an earlier one that still waits for its body, and never waits for it.
    //
    // Everywhere, a state that this driver did not hand out is refused with DOCKER_REGISTRY_CONFLICT or
    // DOCKER_REGISTRY_NOT_FOUND and never taken for another upload's.
    uint32_t (*open_upload)(struct docker_registry_call *call,
                            void *instance,
                            const struct docker_registry_upload_hint *hint);
    // Adds what docker_registry_body_read yields at `expected_offset`, which must be where the upload stands:
    // docker_registry_put_bytes with the new state, and the number of bytes of the upload into `offset`. When it
    // returns, they are durable.
    //
    // DOCKER_REGISTRY_CONFLICT for a stale state or another offset; DOCKER_REGISTRY_NOT_FOUND when the upload is
    // gone. When the body fails, or nobody waits any more before it has ended, the upload stays as it was, and the
    // state stays valid.
    uint32_t (*append)(struct docker_registry_call *call,
                       void *instance,
                       struct docker_registry_bytes state,
                       uint64_t expected_offset,
                       uint64_t *offset);
    // Makes the upload an object at `final_path`, atomically, and ends it: docker_registry_put_info.
    //
    // DOCKER_REGISTRY_CONFLICT for a stale state; DOCKER_REGISTRY_NOT_FOUND when the upload is gone. Condition and
    // path fail as in `put`, and the upload then stays open.
    //
    // There is no function for content that is written in one call: the server opens, appends and commits.
    uint32_t (*commit)(struct docker_registry_call *call,
                       void *instance,
                       struct docker_registry_bytes state,
                       struct docker_registry_text final_path,
                       const struct docker_registry_condition *condition);
    // Discards the upload. Works with any state of it, stale ones included; one that is gone, or was never there,
    // is DOCKER_REGISTRY_OK.
    uint32_t (*abort_upload)(struct docker_registry_call *call,
                             void *instance,
                             struct docker_registry_bytes state);
    // Pending uploads: docker_registry_put_upload for each, and docker_registry_put_next when there are more.
    // Optional without DOCKER_REGISTRY_CAN_LIST_UPLOADS.
    uint32_t (*list_uploads)(struct docker_registry_call *call,
                             void *instance,
                             const struct docker_registry_uploads_request *request);
    // Copies one object, replacing what is at `to`. A copy onto itself changes nothing.
    //
    // DOCKER_REGISTRY_NOT_FOUND for the source; DOCKER_REGISTRY_CONFLICT for the path as in `put`; what is at `to` is
    // then unchanged.
    uint32_t (*copy)(struct docker_registry_call *call,
                     void *instance,
                     struct docker_registry_text from,
                     struct docker_registry_text to);
    // Moves one object, replacing what is at `to`. Onto itself and in its errors as `copy`. The source goes only when
    // the target is complete.
    uint32_t (*rename)(struct docker_registry_call *call,
                       void *instance,
                       struct docker_registry_text from,
                       struct docker_registry_text to);
    // Deletes one object, and nothing in a folder of the same name. DOCKER_REGISTRY_NOT_FOUND, where the storage
    // tells.
    uint32_t (*remove)(struct docker_registry_call *call, void *instance, struct docker_registry_text path);
    // Deletes exactly these objects; absent ones are no error. docker_registry_put_failure for each that could
    // not be deleted. Optional: `remove` is called for each.
    uint32_t (*remove_many)(struct docker_registry_call *call,
                            void *instance,
                            const struct docker_registry_text *paths,
                            size_t count);
    // Deletes everything below the folder and the object of the same name, and nothing else: `a` takes `a` and
    // `a/b`, never `ab`. Writes how many objects went to `removed`; nothing there is 0 and DOCKER_REGISTRY_OK. The
    // empty path empties the store, pending uploads not counted.
    uint32_t (*remove_tree)(struct docker_registry_call *call,
                            void *instance,
                            struct docker_registry_text prefix,
                            uint64_t *removed);
    // An address where a client can fetch the object from the storage itself: docker_registry_put_bytes with it,
    // or nothing. Optional.
    uint32_t (*redirect_url)(struct docker_registry_call *call,
                             void *instance,
                             const struct docker_registry_redirect_request *request);
    // Whether the storage answers and can be written, as cheaply as that can be known.
    uint32_t (*health)(struct docker_registry_call *call, void *instance);
};

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
