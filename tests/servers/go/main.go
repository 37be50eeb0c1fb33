// Go's net/http, as people run it: the runtime's default on SIGTERM, or a graceful Shutdown.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var dir = os.Getenv("LEDGER_DIR")
var part = strings.Repeat("p", 1000)

// event reports a moment with one O_APPEND write, so that lines of several processes never mix.
func event(word, what string) {
	file, err := os.OpenFile(dir+"/events", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s %s\n", word, what)
}

func waitRelease() {
	for {
		if _, err := os.Stat(dir + "/release"); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func flush(w http.ResponseWriter) { w.(http.Flusher).Flush() }

func handle(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	query := r.URL.Query()
	event("got", path)
	if r.Method == http.MethodPost {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		event("body", path)
	}
	switch query.Get("do") {
	case "exit0":
		os.Exit(0)
	case "exit1":
		os.Exit(1)
	case "panic":
		// A panic in a handler is recovered by net/http; one in a goroutine of its own is not.
		go panic("unrecovered")
		select {}
	case "hang":
		waitRelease()
		fmt.Fprint(w, "ok")
	case "part":
		w.Header().Set("Content-Length", strconv.Itoa(2*len(part)))
		fmt.Fprint(w, part)
		flush(w)
		waitRelease()
		fmt.Fprint(w, part)
	case "chunk":
		fmt.Fprint(w, part)
		flush(w)
		waitRelease()
		fmt.Fprint(w, part)
	case "sse":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		flush(w)
		waitRelease()
	case "none":
		w.WriteHeader(http.StatusNoContent)
	case "same":
		w.WriteHeader(http.StatusNotModified)
	case "big":
		n, _ := strconv.Atoi(query.Get("n"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		if _, err := io.WriteString(w, strings.Repeat("b", n)); err == nil {
			event("written", path)
		}
	default:
		fmt.Fprint(w, "ok")
	}
}

func main() {
	server := &http.Server{Handler: http.HandlerFunc(handle)}
	stopped := make(chan struct{})
	if os.Getenv("LEDGER_ON_TERM") == "drain" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() {
			<-stop
			event("stopping", "")
			_ = server.Shutdown(context.Background())
			close(stopped)
		}()
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("LEDGER_HOST"), os.Getenv("LEDGER_PORT")))
	if err != nil {
		panic(err)
	}
	event("listening", "")
	_ = server.Serve(listener)
	<-stopped
}
