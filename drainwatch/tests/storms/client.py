# Opens connections, each with a request, and counts those that end without an answer.
import resource, select, socket, sys

port, count, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
poll = select.epoll()
connections, cut = {}, 0
for number in range(count):
    connection = socket.socket()
    # IP_BIND_ADDRESS_NO_PORT: the port is chosen as the connection is made.
    connection.setsockopt(socket.IPPROTO_IP, 24, 1)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"GET /storm/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
    connection.setblocking(False)
    connections[connection.fileno()] = connection
    poll.register(connection.fileno(), select.EPOLLIN)
print("connected")
while connections:
    for fd, _ in poll.poll():
        try:
            answer = connections[fd].recv(4096)
        except OSError:
            answer = b""
        if not answer:
            cut += 1
            poll.unregister(fd)
            connections.pop(fd).close()
print("ended", cut)
