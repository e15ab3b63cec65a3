/* Greets on GET, gives a body back on POST.
 * cc -O2 -o ~/.config/caffeine/hello hello.c */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char buffer[64 * 1024];

static const char *variable(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? value : otherwise;
}

static int echo(void)
{
    size_t length;

    printf("Content-Type: %s\n", variable("CONTENT_TYPE", "application/octet-stream"));
    printf("Content-Length: %s\n\n", variable("CONTENT_LENGTH", "0"));
    while ((length = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        if (fwrite(buffer, 1, length, stdout) != length)
            return -1;
    return ferror(stdin) ? -1 : 0;
}

static int greet(const char *method)
{
    printf("Content-Type: text/plain\n\n");
    printf("Hello from C.\n");
    printf("method: %s\n", method);
    printf("path info: %s\n", variable("PATH_INFO", ""));
    printf("query: %s\n", variable("QUERY_STRING", ""));
    return 0;
}

int main(void)
{
    const char *method = variable("REQUEST_METHOD", "GET");
    int result = strcmp(method, "POST") == 0 ? echo() : greet(method);

    /* What is written to stderr goes to Caffeine's log. */
    if (result != 0 || fflush(stdout) != 0 || ferror(stdout)) {
        perror("hello");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
