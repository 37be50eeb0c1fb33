// HTTPS as Go's net/http does it, HTTP/2 and HTTP/1: /quick is answered, /hang is not. server PORT CERTIFICATE KEY
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/hang" {
			select {}
		}
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "done\n")
	})
	panic(http.ListenAndServeTLS("127.0.0.1:"+os.Args[1], os.Args[2], os.Args[3], nil))
}
