/* What the driver says about itself, and how it is opened and closed. Begin reading here. */
#include "store.h"

/* Every key that the driver reads. The server checks the configuration against this. */
static const struct docker_registry_key keys[] = {
    {
        .name = "root",
        .kind = DOCKER_REGISTRY_KIND_TEXT,
        .flags = DOCKER_REGISTRY_KEY_REQUIRED,
        .environment = "PLAIN_FILES_ROOT",
        .doc = "Folder that everything is kept in. It is made when it is not there.",
    },
};

/* Opens a folder in another one, making it when it is not there. */
static int open_folder(int at, const char *name) {
    if (mkdirat(at, name, 0777) != 0 && errno != EEXIST)
        return -1;
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void store_close(void *instance) {
    struct store *store = instance;
    close(store->objects);
    close(store->uploads);
    close_temporary(store);
    close(store->all_temporary);
    free(store);
}

static uint32_t store_open(call_t *call, const struct docker_registry_settings *settings, void **instance) {
    const struct docker_registry_setting *root = docker_registry_find_setting(settings, "root");
    if (!root || root->text.length == 0)
        return docker_registry_fail(call, DOCKER_REGISTRY_INVALID_CONFIGURATION, "root is missing");
    int folder = open_folder(AT_FDCWD, root->text.data);
    if (folder < 0) {
        char message[128];
        snprintf(message, sizeof message, "root cannot be opened: %s", strerror(errno));
        return docker_registry_fail(call, DOCKER_REGISTRY_INVALID_CONFIGURATION, message);
    }
    struct store *store = malloc(sizeof *store);
    if (!store) {
        close(folder);
        return docker_registry_fail_errno(call, ENOMEM, "open");
    }
    store->objects = open_folder(folder, "objects");
    store->uploads = open_folder(folder, "uploads");
    store->all_temporary = open_folder(folder, "temporary");
    store->temporary = -1;
    uint32_t result = DOCKER_REGISTRY_OK;
    if (store->objects < 0 || store->uploads < 0 || store->all_temporary < 0 || fsync(folder) != 0)
        result = docker_registry_fail_errno(call, errno, "root");
    else
        result = open_temporary(call, store);
    close(folder);
    if (result != DOCKER_REGISTRY_OK) {
        store_close(store);
        return result;
    }
    docker_registry_log(call->host, DOCKER_REGISTRY_LOG_DEBUG, "the folders are open");
    *instance = store;
    return DOCKER_REGISTRY_OK;
}

static uint64_t store_capabilities(void *instance) {
    (void)instance;
    return DOCKER_REGISTRY_CAN_PUT_IF_ABSENT | DOCKER_REGISTRY_CAN_FILE_REGIONS |
           DOCKER_REGISTRY_CAN_STRONG_CONSISTENCY | DOCKER_REGISTRY_CAN_CHEAP_RENAME |
           DOCKER_REGISTRY_CAN_RESUME_UPLOADS | DOCKER_REGISTRY_CAN_LIST_UPLOADS;
}

/* The storage is well when a file can be made and removed in it. */
static uint32_t store_health(call_t *call, void *instance) {
    struct store *store = instance;
    char name[NAME_BYTES];
    int file = new_file(call, store->temporary, name);
    if (file < 0)
        return DOCKER_REGISTRY_FAILED;
    close(file);
    if (unlinkat(store->temporary, name, 0) != 0)
        return docker_registry_fail_errno(call, errno, "health");
    return DOCKER_REGISTRY_OK;
}

/* read_next and read_close are null, because every reading is an open file; redirect_url, because there is no URL. */
static const struct docker_registry_driver driver = {
    .size = sizeof driver,
    .api_major = DOCKER_REGISTRY_API_MAJOR,
    .api_minor = DOCKER_REGISTRY_API_MINOR,
    .summary = "files in a folder, written in plain C as an example",
    .licence = "Apache-2.0",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .open = store_open,
    .close = store_close,
    .capabilities = store_capabilities,
    .get = object_get,
    .put = object_put,
    .head = object_head,
    .stat = object_stat,
    .read_open = object_read_open,
    .list = object_list,
    .open_upload = upload_open,
    .append = upload_append,
    .commit = upload_commit,
    .abort_upload = upload_abort,
    .list_uploads = upload_list,
    .copy = object_copy,
    .rename = object_rename,
    .remove = object_remove,
    .remove_many = object_remove_many,
    .remove_tree = object_remove_tree,
    .health = store_health,
};

DOCKER_REGISTRY_DRIVER(recorded_c, "0.1.0", driver);
