package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

// What kube-score and kubescape ask of manifests, for everything that is meant to be run for others.

// manifest is an object as far as the rules look at it.
type manifest struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		Replicas    int
		Selector    selector
		PodSelector selector
		PolicyTypes []string
		Template    *struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

// selector is a Deployment's or a policy's (matchLabels), or a Service's (labels at once).
type selector struct {
	MatchLabels map[string]string
	labels      map[string]string
}

// UnmarshalJSON reads either form.
func (s *selector) UnmarshalJSON(data []byte) error {
	var form struct {
		MatchLabels map[string]string `json:"matchLabels"`
	}
	if err := yaml.Unmarshal(data, &form); err != nil {
		return err
	}
	s.MatchLabels = form.MatchLabels
	var labels map[string]string
	if yaml.Unmarshal(data, &labels) == nil {
		s.labels = labels
	}
	return nil
}

type podSpec struct {
	ServiceAccountName            string
	AutomountServiceAccountToken  *bool
	HostNetwork, HostPID, HostIPC bool
	SecurityContext               securityContext
	TopologySpreadConstraints     []any
	Affinity                      any
	Containers, InitContainers    []containerSpec
	TerminationGracePeriodSeconds *int
	Volumes                       []struct {
		Name     string
		HostPath any
	}
}

type securityContext struct {
	RunAsNonRoot, AllowPrivilegeEscalation, ReadOnlyRootFilesystem, Privileged *bool
	RunAsUser                                                                  int
	Capabilities                                                               struct{ Add, Drop []string }
	SeccompProfile                                                             struct{ Type string }
}

type containerSpec struct {
	Name, Image, ImagePullPolicy  string
	SecurityContext               securityContext
	Resources                     struct{ Requests, Limits map[string]any }
	ReadinessProbe, LivenessProbe map[string]any
	Ports                         []struct{ HostPort int }
	Env                           []struct{ Name, Value string }
}

// findings applies every rule. A finding is "rule: kind/name".
func findings(objects []manifest) []string {
	var found []string
	for _, o := range objects {
		if o.Spec.Template == nil {
			continue
		}
		pod, name := o.Spec.Template.Spec, strings.ToLower(o.Kind)+"/"+o.Metadata.Name
		report := func(wrong bool, rule string) {
			if wrong {
				found = append(found, rule+": "+name)
			}
		}
		labels := o.Spec.Template.Metadata.Labels
		report(pod.HostNetwork || pod.HostPID || pod.HostIPC, "host namespaces")
		for _, v := range pod.Volumes {
			report(v.HostPath != nil, "host path")
		}
		report(pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken, "API token mounted")
		report(pod.TerminationGracePeriodSeconds != nil && *pod.TerminationGracePeriodSeconds < 10, "killed before it has drained")
		for _, direction := range []string{"Ingress", "Egress"} {
			report(!slices.ContainsFunc(objects, func(p manifest) bool {
				return p.Kind == "NetworkPolicy" && matches(p.Spec.PodSelector.MatchLabels, labels) && slices.Contains(p.Spec.PolicyTypes, direction)
			}), "no NetworkPolicy for "+direction)
		}
		if o.Kind == "Deployment" {
			report(o.Spec.Replicas < 2, "one replica")
			report(o.Spec.Replicas > 1 && len(pod.TopologySpreadConstraints) == 0 && pod.Affinity == nil, "replicas may share a node")
			report(o.Spec.Replicas > 1 && !slices.ContainsFunc(objects, func(b manifest) bool {
				return b.Kind == "PodDisruptionBudget" && matches(b.Spec.Selector.MatchLabels, labels)
			}), "no PodDisruptionBudget")
		}
		for _, c := range pod.Containers {
			checkContainer(o.Kind, pod.SecurityContext, c, report)
		}
		for _, c := range pod.InitContainers {
			checkContainer("Job", pod.SecurityContext, c, report) // it ends, as a Job's does
		}
	}
	for _, o := range objects {
		if o.Kind == "Service" && !slices.ContainsFunc(objects, func(d manifest) bool {
			return d.Spec.Template != nil && matches(o.Spec.Selector.labels, d.Spec.Template.Metadata.Labels)
		}) {
			found = append(found, "selects no pod: service/"+o.Metadata.Name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func checkContainer(kind string, pod securityContext, c containerSpec, report func(bool, string)) {
	isTrue := func(values ...*bool) bool {
		for _, v := range values { // the container's own setting wins
			if v != nil {
				return *v
			}
		}
		return false
	}
	s := c.SecurityContext
	report(!isTrue(s.RunAsNonRoot, pod.RunAsNonRoot), "may run as root")
	report(s.RunAsUser+pod.RunAsUser <= 10000, "user id of the host's range")
	report(s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, "privilege escalation")
	report(isTrue(s.Privileged), "privileged")
	report(!isTrue(s.ReadOnlyRootFilesystem), "root file system can be written")
	report(!slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0, "capabilities")
	report(s.SeccompProfile.Type+pod.SeccompProfile.Type == "", "no seccomp profile")
	report(!regexp.MustCompile(`:[A-Za-z0-9_.-]+$`).MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest"), "image without a fixed tag")
	report(c.ImagePullPolicy == "", "no pull policy")
	for _, resource := range []string{"cpu", "memory", "ephemeral-storage"} {
		report(c.Resources.Requests[resource] == nil, "no request of "+resource)
		report(c.Resources.Limits[resource] == nil, "no limit of "+resource)
	}
	if kind != "Job" {
		report(c.ReadinessProbe == nil, "no readiness probe")
		report(c.LivenessProbe == nil, "no liveness probe")
		same := fmt.Sprint(c.ReadinessProbe) == fmt.Sprint(c.LivenessProbe)
		if asked := c.ReadinessProbe["httpGet"]; asked != nil {
			same = fmt.Sprint(asked) == fmt.Sprint(c.LivenessProbe["httpGet"])
		}
		report(c.ReadinessProbe != nil && same, "one probe for readiness and liveness")
	}
	for _, p := range c.Ports {
		report(p.HostPort != 0, "host port")
	}
	for _, v := range c.Env {
		report(regexp.MustCompile(`PASSWORD|SECRET|TOKEN`).MatchString(v.Name) && v.Value != "", "secret in the environment")
	}
}

func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

func decode(t *testing.T, stream []byte) []manifest {
	t.Helper()
	var all []manifest
	for _, doc := range strings.Split(string(stream), "\n---\n") {
		var m manifest
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		all = append(all, m)
	}
	return all
}

// argued are the findings that stay, with the reason: "rule: kind/name" or "rule: *".
func argued() map[string]map[string]string {
	const (
		ownUser = "the images' user is 1000, as the original's; a user namespace or runAsUser of one's own goes over it, and the test on a cluster runs with 54321"
		oneOnly = "the overlay for one node; overlay production has two of each"
	)
	tools := map[string]string{
		"user id of the host's range: *":     ownUser,
		"one replica: *":                     "the console keeps its spans in one place",
		"no limit of cpu: *":                 "ingest comes in bursts, and a throttled collector loses spans",
		"no request of ephemeral-storage: *": "how much is kept is the user's --max-memory and quota",
		"no limit of ephemeral-storage: *":   "a pod that is evicted for its data loses all of it; the quota bounds it instead",
	}
	return map[string]map[string]string{
		"overlays/production": {"user id of the host's range: *": ownUser},
		"overlays/restricted": {"user id of the host's range: *": ownUser, "one replica: *": oneOnly},
		"overlays/console":    tools,
		"../asm/tracing-on-external-zipkin.yaml": {
			"user id of the host's range: *":     "101 is the official nginx image's own user",
			"one replica: *":                     "a relay for finding out; a mesh at work sends straight to the backend",
			"no limit of cpu: *":                 "a throttled relay loses spans",
			"no request of ephemeral-storage: *": "it writes to /tmp only what of a push does not fit in memory",
			"no limit of ephemeral-storage: *":   "the same",
			"no NetworkPolicy for Ingress: *":    "istio-system is the mesh's own namespace, whose policies are its owner's",
			"no NetworkPolicy for Egress: *":     "the endpoint outside is the user's to name",
		},
	}
}

// TestHardenedManifests fails on a finding that is not argued, and on an argument for what is no longer found.
func TestHardenedManifests(t *testing.T) {
	for source, reasons := range argued() {
		t.Run(source, func(t *testing.T) {
			left := maps.Clone(reasons)
			for _, f := range findings(decode(t, load(t, source))) {
				rule, _, _ := strings.Cut(f, ": ")
				for _, key := range []string{f, rule + ": *"} {
					if _, ok := reasons[key]; ok {
						delete(left, key)
						f = ""
					}
				}
				if f != "" {
					t.Error(f)
				}
			}
			for key := range left {
				t.Errorf("argued, but not found: %s", key)
			}
		})
	}
}

// load renders a folder, or reads a file.
func load(t *testing.T, source string) []byte {
	t.Helper()
	path := filepath.Join(root, source)
	var data []byte
	var err error
	if filepath.Ext(path) == ".yaml" {
		data, err = os.ReadFile(path)
	} else {
		data, err = combine.Render(filesys.MakeFsOnDisk(), path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestEachRuleFinds spoils one thing of the overlay production at a time.
func TestEachRuleFinds(t *testing.T) {
	good := string(load(t, "overlays/production"))
	before := findings(decode(t, []byte(good)))
	for _, test := range []struct{ old, spoiled, finds string }{
		{"automountServiceAccountToken: false", "automountServiceAccountToken: true", "API token mounted"},
		{"automountServiceAccountToken: false", "hostNetwork: true", "host namespaces"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: false\n      terminationGracePeriodSeconds: 2", "killed before it has drained"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: false\n      volumes: [{name: v, hostPath: {path: /}}]", "host path"},
		{"replicas: 2", "replicas: 1", "one replica"},
		{"topologySpreadConstraints:", "otherConstraints:", "replicas may share a node"},
		{"kind: PodDisruptionBudget", "kind: Other", "no PodDisruptionBudget"},
		{"kind: NetworkPolicy", "kind: Other", "no NetworkPolicy for Egress"},
		{"  - Egress\n", "", "no NetworkPolicy for Egress"},
		{"runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		{"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "privilege escalation"},
		{"allowPrivilegeEscalation: false", "privileged: true", "privileged"},
		{"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root file system can be written"},
		{"            - ALL\n", "            - KILL\n", "capabilities"},
		{"type: RuntimeDefault", "type: \"\"", "no seccomp profile"},
		{"productpage-v1:dev", "productpage-v1:latest", "image without a fixed tag"},
		{"productpage-v1:dev", "productpage-v1", "image without a fixed tag"},
		{"imagePullPolicy: IfNotPresent\n", "\n", "no pull policy"},
		{"            cpu: \"1\"\n", "", "no limit of cpu"},
		{"            memory: 64Mi\n", "", "no limit of memory"},
		{"            ephemeral-storage: 8Mi\n", "", "no request of ephemeral-storage"},
		{"readinessProbe:", "otherProbe:", "no readiness probe"},
		{"livenessProbe:", "otherProbe:", "no liveness probe"},
		{"path: /livez", "path: /readyz", "one probe for readiness and liveness"},
		{"- containerPort: 9080", "- containerPort: 9080\n          hostPort: 9080", "host port"},
		{"- name: DRAIN_DELAY", "- name: DB_PASSWORD", "secret in the environment"},
		{"  selector:\n    app: details", "  selector:\n    app: nobody", "selects no pod"},
	} {
		t.Run(test.finds, func(t *testing.T) {
			if !strings.Contains(good, test.old) {
				t.Fatalf("the overlay has no %q", test.old)
			}
			after := findings(decode(t, []byte(strings.ReplaceAll(good, test.old, test.spoiled))))
			for _, f := range after {
				if strings.HasPrefix(f, test.finds+": ") && !slices.Contains(before, f) {
					return
				}
			}
			t.Errorf("not found: %q", after)
		})
	}
}
