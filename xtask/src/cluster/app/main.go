// The service under test, and its client that keeps account of every request.
//
//	app serve   an HTTP server whose end is chosen by STOP
//	app client  asks it until its stdin ends, then writes one line for every request
//	app pause   what holds a pod's namespaces
//	app job     works for some seconds and exits
//	app proxy   a sidecar: passes connections on to 127.0.0.1
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: app serve|client|pause|job|proxy")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "serve":
		serve()
	case "client":
		client(os.Args[2:])
	case "pause":
		pause()
	case "job":
		job()
	case "proxy":
		proxy()
	default:
		fmt.Fprintln(os.Stderr, "unknown command")
		os.Exit(2)
	}
}

// As Kubernetes' own: reaps what is orphaned and exits with 0 when told.
func pause() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range told {
		if s != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
