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
	"sync/atomic"
	"syscall"
	"time"
)

func seconds(name string, otherwise float64) time.Duration {
	if value, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil {
		otherwise = value
	}
	return time.Duration(otherwise * float64(time.Second))
}

// STOP is one of: graceful (http.Server.Shutdown, then exit), exit (at once, with 0), default (no handler: Go's own),
// ignore. UNREADY (seconds) is the time between the signal and the end of accepting, in which /ready says 503 and every
// answer says `Connection: close`: Shutdown closes idle connections, and a request may be on its way on one of them. CRASH
// and HANG (seconds) are times after which it exits with 1, or answers its liveness probe no more; after DEAF seconds it
// takes nothing more out of its accept queue. PROBE (seconds) is how long an answer to a probe takes.
func serve() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	started := time.Now()
	var draining atomic.Bool
	hang := seconds("HANG", 0)
	mux := http.NewServeMux()
	probed := seconds("PROBE", 0)
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(probed)
		if draining.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/live", func(w http.ResponseWriter, _ *http.Request) {
		if hang > 0 && time.Since(started) > hang {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/r/", func(w http.ResponseWriter, r *http.Request) {
		if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		fmt.Fprintf(w, "%s\n", r.URL.Path)
	})
	server := &http.Server{Handler: mux}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if after := seconds("DEAF", 0); after > 0 {
		listener = deaf{listener, started.Add(after)}
	}
	if crash := seconds("CRASH", 0); crash > 0 {
		time.AfterFunc(crash, func() { os.Exit(1) })
	}
	done := make(chan struct{})
	told := make(chan os.Signal, 1)
	switch os.Getenv("STOP") {
	case "default":
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
	case "exit":
		signal.Notify(told, syscall.SIGTERM)
		go func() {
			<-told
			os.Exit(0)
		}()
	default:
		signal.Notify(told, syscall.SIGTERM)
		go func() {
			<-told
			draining.Store(true)
			time.Sleep(seconds("UNREADY", 0))
			_ = server.Shutdown(context.Background())
			close(done)
		}()
	}
	_ = server.Serve(listener)
	<-done
}

// A listener that accepts nothing more from some time on.
type deaf struct {
	net.Listener
	from time.Time
}

func (d deaf) Accept() (net.Conn, error) {
	if time.Now().After(d.from) {
		select {}
	}
	return d.Listener.Accept()
}

// SECONDS of work; told to stop it ends with 143 unless STOP is ignore.
func job() {
	told := make(chan os.Signal, 1)
	if os.Getenv("STOP") == "ignore" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(told, syscall.SIGTERM)
	}
	select {
	case <-told:
		os.Exit(143)
	case <-time.After(seconds("SECONDS", 3)):
	}
}

// A sidecar that passes on and ends properly: it accepts no more and waits until its connections have ended.
func proxy() {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var open atomic.Int64
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		time.Sleep(seconds("UNREADY", 0))
		_ = listener.Close()
	}()
	for {
		inbound, err := listener.Accept()
		if err != nil {
			break
		}
		open.Add(1)
		go func() {
			defer open.Add(-1)
			defer inbound.Close()
			outbound, err := net.Dial("tcp", os.Getenv("UPSTREAM"))
			if err != nil {
				return
			}
			defer outbound.Close()
			go func() {
				_, _ = io.Copy(outbound, inbound)
				_ = outbound.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(inbound, outbound)
		}()
	}
	for open.Load() > 0 {
		time.Sleep(20 * time.Millisecond)
	}
}
