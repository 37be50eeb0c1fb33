// Renders a chart as `helm template` does, for machines without helm: Go's own text/template, sprig, and those of
// Helm's functions that the chart uses. It prints one JSON object: template to rendered text.
//
//	render CHART RELEASE NAMESPACE SERVICE < values.json
//
// The values on standard input are what Helm would have after merging: defaults, then the user's. Debian's packages
// golang-github-masterminds-sprig-dev and golang-k8s-sigs-yaml-dev have all it needs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type values = map[string]interface{}

// files is Helm's `.Files`.
type files map[string][]byte

func (f files) Get(name string) string { return string(f[name]) }

func (f files) Glob(pattern string) files {
	found := files{}
	for name, content := range f {
		if matched, _ := filepath.Match(pattern, name); matched {
			found[name] = content
		}
	}
	return found
}

func (f files) AsConfig() string {
	config := map[string]string{}
	for name, content := range f {
		config[filepath.Base(name)] = string(content)
	}
	return toYAML(config)
}

func toYAML(value interface{}) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		panic(err)
	}
	return strings.TrimSuffix(string(text), "\n")
}

func read(chart string) (templates map[string]string, others files, err error) {
	templates, others = map[string]string{}, files{}
	err = filepath.Walk(chart, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		name, _ := filepath.Rel(chart, path)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "templates/") {
			templates[name] = string(content)
		} else {
			others[name] = content
		}
		return nil
	})
	return templates, others, err
}

func render() error {
	if len(os.Args) != 5 {
		return fmt.Errorf("usage: render CHART RELEASE NAMESPACE SERVICE < values.json")
	}
	chart, release, namespace, service := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	templates, others, err := read(chart)
	if err != nil {
		return err
	}
	about := values{}
	if err := yaml.Unmarshal(others["Chart.yaml"], &about); err != nil {
		return err
	}
	// Helm's `.Chart` has capitalised names.
	named := values{}
	for key, value := range about {
		named[strings.ToUpper(key[:1])+key[1:]] = value
	}
	// As Helm reads values: through JSON, so that every number is a float64.
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	given := values{}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	root := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	functions["toYaml"] = toYAML
	functions["include"] = func(name string, data interface{}) (string, error) {
		var out strings.Builder
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	root.Funcs(functions)
	for name, text := range templates {
		// With the chart's name before it, as `include (print $.Template.BasePath "/x.yaml")` asks for it.
		if _, err := root.New("drainwatch/" + name).Parse(text); err != nil {
			return err
		}
	}
	rendered := map[string]string{}
	for name := range templates {
		if strings.HasPrefix(filepath.Base(name), "_") {
			continue
		}
		data := values{
			"Values":  given,
			"Chart":   named,
			"Release": values{"Name": release, "Namespace": namespace, "Service": service, "IsInstall": true, "Revision": 1},
			"Files":   others,
			"Template": values{
				"Name":     "drainwatch/" + name,
				"BasePath": "drainwatch/templates",
			},
		}
		var out strings.Builder
		if err := root.ExecuteTemplate(&out, "drainwatch/"+name, data); err != nil {
			return err
		}
		// As Helm: what is missing is nothing.
		rendered[name] = strings.ReplaceAll(out.String(), "<no value>", "")
	}
	return json.NewEncoder(os.Stdout).Encode(rendered)
}

func main() {
	if err := render(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
