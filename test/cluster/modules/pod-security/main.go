// Program pod-security judges pods by the Pod Security evaluator of Kubernetes itself.
//
// It reads pods as JSON, one a line, and writes one line for each:
// {"baseline": [{"from": 0, "violations": [{"id", "reason", "detail"}]}, ...], "restricted": [...], "latest": {...}}
// where `from` is the minor version of the policy from which on the violations are these.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const newestMinor = 37

type violation struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type span struct {
	From       int         `json:"from"`
	Violations []violation `json:"violations"`
}

func main() {
	evaluator, err := policy.NewEvaluator(checksWithIDs(), nil)
	if err != nil {
		fail(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		var pod corev1.Pod
		if err := json.Unmarshal(lines.Bytes(), &pod); err != nil {
			fail(fmt.Errorf("%w in %s", err, lines.Text()))
		}
		if err := encoder.Encode(judge(evaluator, &pod)); err != nil {
			fail(err)
		}
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
	if err := out.Flush(); err != nil {
		fail(err)
	}
}

// A result does not say which check it is of; the reason is made to carry that.
func checksWithIDs() []policy.Check {
	checks := policy.DefaultChecks()
	for _, check := range checks {
		for index := range check.Versions {
			original := check.Versions[index].CheckPod
			check.Versions[index].CheckPod = func(metadata *metav1.ObjectMeta, spec *corev1.PodSpec) policy.CheckResult {
				result := original(metadata, spec)
				result.ForbiddenReason = string(check.ID) + "\n" + result.ForbiddenReason
				return result
			}
		}
	}
	return checks
}

func judge(evaluator policy.Evaluator, pod *corev1.Pod) map[string]any {
	answer := map[string]any{}
	latest := map[string][]violation{}
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		var spans []span
		for minor := 0; minor <= newestMinor; minor++ {
			found := violations(evaluator, level, api.MajorMinorVersion(1, minor), pod)
			if len(spans) == 0 || !reflect.DeepEqual(spans[len(spans)-1].Violations, found) {
				spans = append(spans, span{minor, found})
			}
		}
		answer[string(level)] = spans
		latest[string(level)] = violations(evaluator, level, api.LatestVersion(), pod)
	}
	answer["latest"] = latest
	return answer
}

func violations(evaluator policy.Evaluator, level api.Level, version api.Version, pod *corev1.Pod) []violation {
	found := []violation{}
	results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &pod.ObjectMeta, &pod.Spec)
	for _, result := range results {
		if !result.Allowed {
			id, reason, _ := strings.Cut(result.ForbiddenReason, "\n")
			found = append(found, violation{id, reason, result.ForbiddenDetail})
		}
	}
	return found
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
