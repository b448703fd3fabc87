/* A stand-in for pyxis: its options of srun, a record of them, and real mounts in a root of the
 * step's own, which is this host's root and not the image's.
 *
 * plugstack.conf: required PATH/pyxis_stand_in.so FOLDER
 * FOLDER/root becomes the root; every option is appended to FOLDER/options as the task sees it.
 * An image whose name holds "missing" cannot be fetched, one with "slow" is there when FOLDER/fetched is.
 *
 * The few declarations of Slurm's plugin interface stand here, so that the tests need no
 * development package; VERSION is that of the Slurm which loads it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct spank_handle *spank_t;
typedef int (*spank_opt_cb_f)(int val, const char *optarg, int remote);
struct spank_option {
    char *name, *arginfo, *usage;
    int has_arg, val;
    spank_opt_cb_f cb;
};
extern int spank_option_register(spank_t spank, struct spank_option *option);
extern int spank_setenv(spank_t spank, const char *name, const char *value, int overwrite);
extern void slurm_error(const char *format, ...);

const char plugin_name[] = "pyxis_stand_in", plugin_type[] = "spank";
const unsigned int plugin_version = VERSION, spank_plugin_version = 1;

enum { IMAGE, MOUNTS, WORKDIR, ENV, FLAGS };
static char *names[] = {
    "container-image", "container-mounts", "container-workdir", "container-env",
    "container-writable", "no-container-mount-home", "no-container-remap-root",
    "no-container-entrypoint",
};
#define COUNT ((int)(sizeof names / sizeof *names))
static char *values[COUNT];

static int given(int val, const char *optarg, int remote)
{
    (void)remote;
    values[val] = strdup(optarg && *optarg ? optarg : "yes");
    return 0;
}

int slurm_spank_init(spank_t spank, int ac, char **av)
{
    (void)ac, (void)av;
    for (int i = 0; i < COUNT; i++) {
        struct spank_option option = {names[i], i < FLAGS ? "VALUE" : NULL, "[stand-in]",
                                      i < FLAGS, i, given};
        if (spank_option_register(spank, &option))
            return -1;
    }
    return 0;
}

static int failed(const char *what)
{
    slurm_error("pyxis: %s: %s", what, strerror(errno));
    return -1;
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    int rc = fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

static void make_folders(char *path, size_t from)
{
    for (char *end = path + from; (end = strchr(end + 1, '/'));) {
        *end = 0;
        mkdir(path, 0755);
        *end = '/';
    }
    mkdir(path, 0755);
}

/* The entries of the host's root, but /mnt, in which mount points are made. */
static int build(const char *root)
{
    char inside[PATH_MAX], outside[PATH_MAX], link[PATH_MAX];
    struct dirent *entry;
    DIR *dir = opendir("/");
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "mnt"))
            continue;
        snprintf(inside, sizeof inside, "%s/%s", root, entry->d_name);
        snprintf(outside, sizeof outside, "/%s", entry->d_name);
        ssize_t length = readlink(outside, link, sizeof link - 1);
        if (length > 0) {
            link[length] = 0;
            if (symlink(link, inside))
                return failed(inside);
        } else if (entry->d_type == DT_DIR) {
            mkdir(inside, 0755);
            if (mount(outside, inside, NULL, MS_BIND | MS_REC, NULL))
                return failed(outside);
        }
    }
    closedir(dir);
    return 0;
}

static int bind_one(const char *root, char *words)
{
    char *source = strsep(&words, ":"), *target = strsep(&words, ":"), inside[PATH_MAX];
    snprintf(inside, sizeof inside, "%s%s", root, target);
    make_folders(inside, strlen(root));
    if (mount(source, inside, NULL, MS_BIND | MS_REC, NULL))
        return failed(source);
    unsigned long kept = MS_NOSUID | MS_NODEV, locks = MS_BIND | MS_REMOUNT | MS_RDONLY;
    if (words && !strcmp(words, "ro") && mount(NULL, inside, NULL, locks, NULL)
        && mount(NULL, inside, NULL, locks | kept, NULL))
        return failed(inside);
    return 0;
}

static int enter(const char *root)
{
    char map[64], *each, *rest = strdup(values[MOUNTS] ? values[MOUNTS] : "");
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return failed("unshare");
    snprintf(map, sizeof map, "%d %d 1", uid, uid);
    if (put("/proc/self/setgroups", "deny") || put("/proc/self/uid_map", map))
        return failed("uid_map");
    snprintf(map, sizeof map, "%d %d 1", gid, gid);
    if (put("/proc/self/gid_map", map))
        return failed("gid_map");
    mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL);
    if (mount("tmpfs", root, "tmpfs", 0, "mode=755") || build(root))
        return failed(root);
    while ((each = strsep(&rest, ",")))
        if (*each && bind_one(root, each))
            return -1;
    if (chroot(root) || chdir(values[WORKDIR] ? values[WORKDIR] : "/"))
        return failed("chroot");
    return 0;
}

int slurm_spank_task_init(spank_t spank, int ac, char **av)
{
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!values[IMAGE] || ac < 1)
        return 0;
    snprintf(path, sizeof path, "%s/options", av[0]);
    for (int i = 0; i < COUNT; i++) {
        snprintf(line, sizeof line, "%s=%s\n", names[i], values[i] ? values[i] : "");
        if (put(path, line))
            return failed(path);
    }
    if (strstr(values[IMAGE], "missing")) {
        slurm_error("pyxis: failed to import docker image: %s", values[IMAGE]);
        return -1;
    }
    snprintf(path, sizeof path, "%s/fetched", av[0]);
    while (strstr(values[IMAGE], "slow") && access(path, F_OK))
        usleep(100000);
    /* As an image of PyTorch's has it, whatever the job said. */
    spank_setenv(spank, "RANK", "0", 1);
    spank_setenv(spank, "LOCAL_RANK", "0", 1);
    spank_setenv(spank, "IN_CONTAINER", values[IMAGE], 1);
    snprintf(path, sizeof path, "%s/root", av[0]);
    return enter(path);
}
