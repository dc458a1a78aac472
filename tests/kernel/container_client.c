/* Connects over loopback to itself, over AF_UNIX to itself, and to a port that is closed; then it is gone. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/socket" };
	int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t size = sizeof(in);

	unlink(un.sun_path);
	if (bind(one, (void *)&in, size) || listen(one, 1) || getsockname(one, (void *)&in, &size) ||
	    bind(two, (void *)&un, sizeof(un)) || listen(two, 1))
		return 1;
	if (connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&in, size))
		return 2;
	if (connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, sizeof(un)))
		return 3;
	close(one);
	return !connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&in, size);
}
