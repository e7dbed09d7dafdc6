/* One static program that does what a test wants to see in a container: probe VERB [ARGUMENT]. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int show(const char *path) {
    char buffer[4096];
    FILE *file = fopen(path, "r");
    size_t got;
    if (!file) { perror(path); return 1; }
    while ((got = fread(buffer, 1, sizeof buffer, file))) fwrite(buffer, 1, got, stdout);
    return 0;
}

static int spam(long megabytes) {
    static char line[1 << 16];
    memset(line, 'y', sizeof line);
    for (long n = megabytes * 16; n; n--) {
        if (write(1, line, sizeof line) < 0) return 1;
        if (write(2, line, sizeof line) < 0) return 1;
    }
    return write(1, "the end\n", 8) != 8;
}

static int eat(long megabytes) {
    for (; megabytes; megabytes--) {
        char *block = malloc(1 << 20);
        if (!block) return 1;
        memset(block, 'x', 1 << 20);
    }
    return 0;
}

static int breed(long wanted) {
    for (long born = 0; born < wanted; born++) {
        pid_t child = fork();
        if (child < 0) { printf("%ld, then %s\n", born, strerror(errno)); return 0; }
        if (!child) { pause(); _exit(0); }
    }
    printf("%ld\n", wanted);
    return 0;
}

static int put(const char *path) {
    int file = open(path, O_CREAT | O_WRONLY, 0644);
    if (file < 0) { perror(path); return 1; }
    return 0;
}

int main(int count, char **words) {
    const char *verb = count > 1 ? words[1] : "", *argument = count > 2 ? words[2] : "";
    if (!strcmp(verb, "say")) return puts(argument) < 0;
    if (!strcmp(verb, "both")) { puts("to stdout"); fputs("to stderr\n", stderr); return 0; }
    if (!strcmp(verb, "exit")) return atoi(argument);
    if (!strcmp(verb, "show")) return show(argument);
    if (!strcmp(verb, "write")) return put(argument);
    if (!strcmp(verb, "spam")) return spam(atol(argument));
    if (!strcmp(verb, "eat")) return eat(atol(argument));
    if (!strcmp(verb, "breed")) return breed(atol(argument));
    if (!strcmp(verb, "sleep")) { sleep(atoi(argument)); return 0; }
    if (!strcmp(verb, "hide")) { close(1); close(2); sleep(atoi(argument)); return 0; }
    if (!strcmp(verb, "env")) { for (char **e = environ; *e; e++) puts(*e); return 0; }
    fprintf(stderr, "what is %s?\n", verb);
    return 64;
}
