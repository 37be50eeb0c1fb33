# Reads requests and never answers; says how many it has read whenever nothing more comes.
import resource, select, socket

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(4096)
listener.setblocking(False)
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
print("at", listener.getsockname()[1])
poll = select.epoll()
poll.register(listener.fileno(), select.EPOLLIN)
connections, read, told = {}, 0, 0
while True:
    events = poll.poll(0.3 if told != read else None)
    if not events:
        print("read all", read)
        told = read
    for fd, _ in events:
        if fd != listener.fileno():
            if not connections[fd].recv(4096):
                poll.unregister(fd)
                connections.pop(fd).close()
            else:
                read += 1
            continue
        try:
            for _ in range(200):
                connection, _ = listener.accept()
                connection.setblocking(False)
                connections[connection.fileno()] = connection
                poll.register(connection.fileno(), select.EPOLLIN)
        except BlockingIOError:
            pass
