/* A handler that does what PATH_INFO names, with QUERY_STRING as argument, and prints what came of
 * it. The tests in confinement.rs say what may come of it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *argument;

static void head(void)
{
    printf("Content-Type: text/plain\n\n");
    fflush(stdout);
}

static const char *name(int error)
{
    switch (error) {
    case EACCES: return "EACCES";
    case EAGAIN: return "EAGAIN";
    case ENOMEM: return "ENOMEM";
    case EPERM: return "EPERM";
    default: return strerror(error);
    }
}

/* What a call returned, in one word. */
static void tell(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? name(errno) : "done");
    fflush(stdout);
}

static void fork_bomb(void)
{
    int n = 0;
    pid_t pid;
    while (n < 1000 && (pid = fork()) >= 0) {
        if (pid == 0)
            for (;;)
                if (fork() < 0)
                    usleep(1000);
        n++;
    }
    head();
    printf("%d\n", n);
    tell("fork", pid);
}

static void memory_bomb(void)
{
    long n = 0;
    char *piece;
    while (n < 1024 && (piece = malloc(1 << 20)) != NULL) {
        memset(piece, 1, 1 << 20);
        n++;
    }
    head();
    printf("%ld\n", n);
    tell("malloc", piece ? 0 : -1);
}

static void daemon_twice(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            for (int fd = 0; fd < 3; fd++)
                close(fd);
            for (;;)
                pause();
        }
        _exit(0);
    }
    wait(NULL);
    head();
    puts("started");
}

static void close_all(void)
{
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    for (;;)
        pause();
}

static void flood(int fd, long long bytes)
{
    static char piece[64 * 1024];
    memset(piece, 'x', sizeof piece);
    piece[sizeof piece - 1] = '\n';
    while (bytes > 0) {
        ssize_t n = write(fd, piece, sizeof piece);
        if (n < 0)
            return;
        bytes -= n;
    }
}

static void spin(void)
{
    signal(SIGXCPU, SIG_DFL);
    for (volatile long n = 0;; n++)
        ;
}

static void stubborn_spin(void)
{
    signal(SIGXCPU, SIG_IGN);
    for (volatile long n = 0;; n++)
        ;
}

/* What can be seen of a process: its memory, its descriptors, itself under ptrace. */
static void spy(pid_t pid)
{
    char path[64];
    head();
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    tell("mem", open(path, O_RDONLY));
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    tell("fd", open(path, O_RDONLY | O_DIRECTORY));
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    tell("environ", open(path, O_RDONLY));
    tell("ptrace", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
}

static int tcp(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

static void touch_all(void)
{
    struct sockaddr_in to = loopback(atoi(argument));
    head();
    tell("read", open("/etc/passwd", O_RDONLY));
    tell("list", open("/etc", O_RDONLY | O_DIRECTORY));
    tell("write", open("written", O_WRONLY | O_CREAT, 0600));
    tell("truncate", truncate("plain", 0));
    tell("mkdir", mkdir("folder", 0700));
    tell("unlink", unlink("plain"));
    tell("connect", connect(tcp(), (struct sockaddr *)&to, sizeof to));
    to = loopback(0);
    tell("bind", bind(tcp(), (struct sockaddr *)&to, sizeof to));
    tell("kill worker", kill(getppid(), 0));
    tell("null", open("/dev/null", O_RDWR));
}

/* Sends a line, with a descriptor if there is one. */
static void send_with(int to, const char *line, int passed)
{
    char control[CMSG_SPACE(sizeof passed)] = { 0 };
    struct iovec piece = { (void *)line, strlen(line) };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (passed >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof passed);
        memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    sendmsg(to, &message, MSG_NOSIGNAL);
}

/* Says a line at the control socket with each descriptor of its pid file that can be had, and what
 * comes back. */
static void say(void)
{
    static const struct { const char *name; int flags; } all[] = {
        { "none", -1 }, { "path", O_PATH }, { "read", O_RDONLY }, { "write", O_RDWR },
    };
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    snprintf(to.sun_path, sizeof to.sun_path, "../socket");
    char line[32], answer[4096];
    snprintf(line, sizeof line, "%s\n", argument);
    head();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int passed = all[i].flags == -1 ? -1 : open("../pid", all[i].flags);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&to, sizeof to);
        send_with(fd, line, passed);
        ssize_t n = read(fd, answer, sizeof answer);
        size_t first = n > 0 ? strcspn(answer, "\n=") : 7;
        printf("%s: %.*s\n", all[i].name, (int)first, n > 0 ? answer : "nothing");
        close(fd);
    }
}

/* A child says it, and is gone before anybody can ask who it was. */
static void say_and_die(void)
{
    if (fork() == 0) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        snprintf(to.sun_path, sizeof to.sun_path, "../socket");
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&to, sizeof to);
        send_with(fd, "stop\n", -1);
        _exit(0);
    }
    wait(NULL);
    head();
    puts("said");
}

static void limits(void)
{
    static const struct { const char *name; int resource; } all[] = {
        { "cpu", RLIMIT_CPU }, { "memory", RLIMIT_AS }, { "files", RLIMIT_NOFILE },
        { "size", RLIMIT_FSIZE }, { "core", RLIMIT_CORE },
    };
    head();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct rlimit limit;
        getrlimit(all[i].resource, &limit);
        printf("%s %lld\n", all[i].name, (long long)limit.rlim_cur);
    }
    int score = -1;
    FILE *file = fopen("/proc/self/oom_score_adj", "r");
    if (file)
        fscanf(file, "%d", &score);
    printf("nice %d\noom %d\n", getpriority(PRIO_PROCESS, 0), score);
    char line[128];
    file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Uid", 3)
            || !strncmp(line, "Gid", 3) || !strncmp(line, "Groups", 6))
            printf("%s", line);
}

/* Of an nph handler: whoever closes the connection last is to wait for its client. */
static void linger(void)
{
    struct linger wait = { 1, 60 };
    char page[65536] = "HTTP/1.1 200 OK\r\n\r\n";
    setsockopt(1, SOL_SOCKET, SO_LINGER, &wait, sizeof wait);
    while (send(1, page, sizeof page, MSG_DONTWAIT) > 0)
        ;
}

/* Processes that start others in sessions of their own without end, as many as the limit allows. */
static void scatter(void)
{
    head();
    puts("scattered");
    fflush(stdout);
    close(1);
    for (int n = 0; n < 20; n++)
        if (fork() == 0)
            for (;;)
                if (fork() < 0)
                    usleep(1000);
                else
                    setsid();
    usleep(200000);
    if (!strcmp(argument, "and-kill"))
        kill(getppid(), SIGKILL);
}

/* A set-user-ID handler that leaves a process which is root's for good: nobody else may end it. */
static void leave_root(void)
{
    int ends[2];
    char result = 'n';
    if (pipe(ends) == 0 && fork() == 0) {
        close(1);
        setsid();
        if (setresuid(0, 0, 0) == 0) {
            FILE *file = fopen("left", "w");
            fprintf(file, "%d\n", getpid());
            fclose(file);
            result = 'y';
        }
        write(ends[1], &result, 1);
        if (result == 'y')
            sleep(60);
        exit(0);
    }
    read(ends[0], &result, 1);
    head();
    puts(result == 'y' ? "left" : "refused");
    fflush(stdout);
}

int main(void)
{
    const char *what = getenv("PATH_INFO");
    argument = getenv("QUERY_STRING");
    what = what ? what + 1 : "";
    argument = argument ? argument : "";
    if (!strcmp(what, "fork-bomb"))
        fork_bomb();
    else if (!strcmp(what, "memory-bomb"))
        memory_bomb();
    else if (!strcmp(what, "daemon"))
        daemon_twice();
    else if (!strcmp(what, "scatter"))
        scatter();
    else if (!strcmp(what, "leave-root"))
        leave_root();
    else if (!strcmp(what, "stop"))
        raise(SIGSTOP);
    else if (!strcmp(what, "linger"))
        linger();
    else if (!strcmp(what, "close-all"))
        close_all();
    else if (!strcmp(what, "flood")) {
        head();
        flood(1, atoll(argument));
    } else if (!strcmp(what, "flood-stderr")) {
        flood(2, atoll(argument));
        head();
        puts("flooded");
    } else if (!strcmp(what, "spin"))
        spin();
    else if (!strcmp(what, "stubborn-spin"))
        stubborn_spin();
    else if (!strcmp(what, "big-file")) {
        int fd = open("big", O_WRONLY | O_CREAT, 0600);
        flood(fd, 1 << 30);
    } else if (!strcmp(what, "kill")) {
        long result = kill(atoi(argument), SIGKILL);
        head();
        tell("kill", result);
    } else if (!strcmp(what, "spy"))
        spy(atoi(argument));
    else if (!strcmp(what, "touch"))
        touch_all();
    else if (!strcmp(what, "say"))
        say();
    else if (!strcmp(what, "say-later")) {
        while (access("../say", F_OK) != 0)
            usleep(10000);
        say();
    } else if (!strcmp(what, "say-and-die"))
        say_and_die();
    else if (!strcmp(what, "limits"))
        limits();
    return 0;
}
