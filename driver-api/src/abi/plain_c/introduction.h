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
