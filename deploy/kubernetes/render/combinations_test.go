package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

// TestEveryCombinationRenders puts the components together in every threesome, and looks at what each must have done
// to every object that the others bring.
func TestEveryCombinationRenders(t *testing.T) {
	tree, err := combine.Tree("../..")
	if err != nil {
		t.Fatal(err)
	}
	combinations := combine.Combinations()
	if len(combinations) < 20 {
		t.Fatalf("only %d combinations", len(combinations))
	}
	t.Logf("%d combinations", len(combinations))
	for _, c := range combinations {
		rendered, err := c.Render(tree)
		if err != nil {
			t.Errorf("%s: %v", c.Name(), err)
			continue
		}
		all := decode(t, rendered)
		for _, f := range slices.Concat(duplicates(all), missed(c, all)) {
			t.Errorf("%s: %s", c.Name(), f)
		}
		if !slices.Contains(c, "hardened") {
			continue
		}
		reasons := arguedOfCombinations(slices.Contains(c, "available"))
		for _, f := range findings(all) {
			rule, _, _ := strings.Cut(f, ": ")
			if reasons[f] == "" && reasons[rule+": *"] == "" {
				t.Errorf("%s: %s", c.Name(), f)
			}
		}
	}
}

// arguedOfCombinations are the findings that stay when other components are hardened too.
func arguedOfCombinations(available bool) map[string]string {
	reasons := maps.Clone(argued()["overlays/restricted"])
	maps.Copy(reasons, argued()["overlays/console"])
	const official = "the official image, whose needs nobody can know who has not run it; its owner's hardening goes over it"
	for _, database := range []string{"mysqldb-v1", "mongodb-v1"} {
		for _, rule := range []string{"root file system can be written", "no limit of cpu", "no request of ephemeral-storage", "no limit of ephemeral-storage"} {
			reasons[rule+": deployment/"+database] = official
		}
	}
	maps.Copy(reasons, map[string]string{
		"no readiness probe: deployment/bookinfo-load":           "nobody calls it",
		"no liveness probe: deployment/bookinfo-load":            "it ends when it cannot go on",
		"secret in the environment: deployment/ratings-v2-mysql": "the tutorial's own, which is the word password",
	})
	if available {
		delete(reasons, "one replica: *")
		for _, one := range []string{"bookinfo-console", "bookinfo-load", "mysqldb-v1", "mongodb-v1", "ratings-v-faulty", "ratings-v-delayed", "ratings-v-unavailable", "ratings-v-unhealthy"} {
			reasons["one replica: deployment/"+one] = "it holds data, makes load, or fails on purpose"
		}
	}
	return reasons
}

// duplicates are objects that came twice.
func duplicates(all []manifest) []string {
	var found []string
	seen := map[string]bool{}
	for _, o := range all {
		key := o.Kind + "/" + o.Metadata.Namespace + "/" + o.Metadata.Name
		if seen[key] {
			found = append(found, "twice: "+key)
		}
		seen[key] = true
	}
	return found
}

// missed are settings that a component of the combination brings, and that a workload of Bookinfo has not.
func missed(c combine.Combination, all []manifest) []string {
	var found []string
	for _, o := range all {
		app := o.Metadata.Labels["app"]
		if o.Kind != "Deployment" || !slices.Contains([]string{"productpage", "details", "reviews", "ratings"}, app) {
			continue
		}
		main := o.Spec.Template.Spec.Containers[0]
		env := map[string]string{}
		for _, v := range main.Env {
			if _, twice := env[v.Name]; twice {
				found = append(found, v.Name+" twice: "+o.Metadata.Name)
			}
			env[v.Name] = v.Value
		}
		want := func(component string, has bool) {
			if slices.Contains(c, component) != has {
				found = append(found, fmt.Sprintf("%s: %s=%t", o.Metadata.Name, component, has))
			}
		}
		want("b3", strings.Contains(env["FORWARD_HEADERS"], "b3") && env["OTEL_PROPAGATORS"] == "b3multi")
		want("w3c", strings.Contains(env["FORWARD_HEADERS"], "w3c") && env["OTEL_PROPAGATORS"] == "tracecontext,baggage")
		want("sdk", env["OTEL_TRACES_EXPORTER"] == "otlp")
		if !strings.HasPrefix(o.Metadata.Labels["version"], "v-") {
			want("available", o.Spec.Replicas == 2)
		}
		want("hardened", main.SecurityContext.ReadOnlyRootFilesystem != nil)
		if app != "productpage" {
			want("tools", strings.HasSuffix(main.Image, "-tools"))
		}
		if env["DRAIN_DELAY"] != "5s" || main.ReadinessProbe == nil || main.LivenessProbe == nil {
			found = append(found, "no drain delay or probes: "+o.Metadata.Name)
		}
	}
	return found
}
