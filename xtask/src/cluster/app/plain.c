// A server that never heard of signals: SIGTERM has its default action, which as PID 1 of a namespace is none. Written
// in C, for Go's runtime installs handlers of its own. A thread for each connection, keep-alive, GET only.
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void *serve(void *argument)
{
	int fd = (int)(long)argument;
	char in[4096], out[8192];
	size_t have = 0;
	for (;;) {
		char *end;
		in[have] = 0;
		while (!(end = strstr(in, "\r\n\r\n"))) {
			ssize_t n = have < sizeof in - 1 ? read(fd, in + have, sizeof in - 1 - have) : -1;
			if (n <= 0) {
				close(fd);
				return NULL;
			}
			have += n;
			in[have] = 0;
		}
		*end = 0;
		char path[1024] = "";
		int ms = 0, last = strstr(in, "Connection: close") != NULL;
		sscanf(in, "%*s %1023[^? ]?ms=%d", path, &ms);
		struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
		nanosleep(&pause, NULL);
		int length = snprintf(out, sizeof out,
				      "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n%s\n",
				      strlen(path) + 1, last ? "close" : "keep-alive", path);
		if (write(fd, out, length) != length || last) {
			close(fd);
			return NULL;
		}
		have -= end + 4 - in;
		memmove(in, end + 4, have);
	}
}

int main(void)
{
	int listener = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(8080)};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 128)) {
		perror("listen");
		return 1;
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;
		if (fd < 0)
			continue;
		if (pthread_create(&thread, NULL, serve, (void *)(long)fd))
			close(fd);
		else
			pthread_detach(thread);
	}
}
