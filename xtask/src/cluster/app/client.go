package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What became of a request:
//
//	ok       a complete answer
//	failed   a complete answer, 5xx
//	cut      it was sent, and the connection ended before a complete answer
//	refused  no connection: ECONNREFUSED
//	unsent   the connection ended before the request could be written
//	lost     no connection, no end either: nobody answered
type entry struct {
	id      string
	outcome string
	local   string
	remote  string
	at      time.Time
	detail  string
}

var (
	accounts []entry
	lock     sync.Mutex
	next     atomic.Int64
	stopping atomic.Bool
)

func note(e entry) {
	lock.Lock()
	accounts = append(accounts, e)
	lock.Unlock()
}

// Raw sockets with a parser of answers on top: net/http's client asks again by itself when a kept connection has ended,
// and so hides what is to be counted.
func client(arguments []string) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	target := flags.String("target", "", "HOST:PORT")
	prefix := flags.String("prefix", "x", "start of the ids")
	fresh := flags.Int("fresh", 4, "workers that open a connection for every request")
	kept := flags.Int("kept", 4, "workers that keep their connection")
	slowest := flags.Int("ms", 300, "longest time that a request takes")
	pause := flags.Int("pause", 20, "milliseconds between two requests of a worker")
	_ = flags.Parse(arguments)
	// Endpoints of a new service take a moment to reach kube-proxy: that is no request's fate yet.
	for i := 0; i < 300; i++ {
		if probe, err := net.DialTimeout("tcp", *target, time.Second); err == nil {
			_ = probe.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var workers sync.WaitGroup
	for i := 0; i < *fresh+*kept; i++ {
		workers.Add(1)
		go func(keep bool, random *rand.Rand) {
			defer workers.Done()
			work(*target, *prefix, keep, *slowest, *pause, random)
		}(i >= *fresh, rand.New(rand.NewSource(int64(i))))
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stopping.Store(true)
	workers.Wait()
	out := bufio.NewWriter(os.Stdout)
	for _, e := range accounts {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", e.id, e.outcome, e.local, e.remote, e.at.UTC().Format("2006-01-02T15:04:05.000Z"), e.detail)
	}
	_ = out.Flush()
}

func work(target, prefix string, keep bool, slowest, pause int, random *rand.Rand) {
	var connection net.Conn
	var reader *bufio.Reader
	end := func() {
		if connection != nil {
			_ = connection.Close()
			connection = nil
		}
	}
	defer end()
	for !stopping.Load() {
		if connection != nil && ended(connection) {
			end()
		}
		id := fmt.Sprintf("%s-%d", prefix, next.Add(1))
		e := entry{id: id, at: time.Now()}
		if connection == nil {
			dialed, err := net.DialTimeout("tcp", target, 3*time.Second)
			if err != nil {
				e.outcome = "lost"
				if errors.Is(err, syscall.ECONNREFUSED) {
					e.outcome = "refused"
				}
				e.detail = err.Error()
				note(e)
				time.Sleep(50 * time.Millisecond)
				continue
			}
			connection, reader = dialed, bufio.NewReader(dialed)
		}
		e.local, e.remote = connection.LocalAddr().String(), connection.RemoteAddr().String()
		how := "keep-alive"
		if !keep {
			how = "close"
		}
		text := fmt.Sprintf("GET /r/%s?ms=%d HTTP/1.1\r\nHost: app\r\nUser-Agent: account\r\nConnection: %s\r\n\r\n", id, random.Intn(slowest+1), how)
		_ = connection.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := connection.Write([]byte(text)); err != nil {
			e.outcome, e.detail = "unsent", err.Error()
			note(e)
			end()
			continue
		}
		response, err := http.ReadResponse(reader, nil)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(response.Body)
		}
		switch {
		case err != nil:
			e.outcome, e.detail = "cut", err.Error()
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				e.outcome = "lost"
			}
		case response.StatusCode >= 500:
			e.outcome, e.detail = "failed", response.Status
		case strings.TrimSpace(string(body)) != "/r/"+id:
			e.outcome, e.detail = "cut", "not its own answer"
		default:
			e.outcome = "ok"
		}
		note(e)
		if err != nil || !keep || response.Close {
			end()
		}
		time.Sleep(time.Duration(random.Intn(2*pause+1)) * time.Millisecond)
	}
}

// Whether the other side has said goodbye on a kept connection, as every pool of connections looks before it uses one.
func ended(connection net.Conn) bool {
	raw, err := connection.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && err != syscall.EAGAIN
		return true
	})
	return gone || err != nil
}
