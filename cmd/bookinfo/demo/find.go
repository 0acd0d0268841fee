package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNotFound means that no demo runs, as far as can be told.
var ErrNotFound = errors.New("no demo is running; start one by: bookinfo demo")

// findTimeout bounds the question to a running demo.
const findTimeout = 2 * time.Second

// Find returns where the running demo listens: the one whose control address is given, else the one that the variable
// BOOKINFO_DEMO names, else the last one that this user started. It asks the demo itself, so that an address is never
// older than the demo behind it.
func Find(ctx context.Context, control string, getenv func(string) string) (Info, error) {
	if control == "" {
		control = getenv("BOOKINFO_DEMO")
	}
	if control == "" {
		data, err := os.ReadFile(runtimeFile(getenv))
		if errors.Is(err, fs.ErrNotExist) {
			return Info{}, ErrNotFound
		}
		if err != nil {
			return Info{}, fmt.Errorf("find the demo: %w", err)
		}
		var saved Info
		if err := json.Unmarshal(data, &saved); err != nil || saved.Control == "" {
			return Info{}, fmt.Errorf("find the demo: %s holds no demo", runtimeFile(getenv))
		}
		if info, err := ask(ctx, saved.Control); err == nil {
			return info, nil
		}
		return Info{}, ErrNotFound // it ended without removing its file
	}
	address, err := url.Parse(control)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
		return Info{}, fmt.Errorf("demo %q: want the control address of a running demo, such as http://127.0.0.1:%d", control, controlPort)
	}
	info, err := ask(ctx, strings.TrimSuffix(control, "/"))
	if err != nil {
		return Info{}, fmt.Errorf("demo %q: %w", control, err)
	}
	return info, nil
}

func ask(ctx context.Context, control string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, control+"/api/demo", nil)
	if err != nil {
		return Info{}, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return Info{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Info{}, fmt.Errorf("answers %s, which a demo's control address would not", resp.Status)
	}
	var info Info
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&info); err != nil {
		return Info{}, fmt.Errorf("answers something else than a demo: %w", err)
	}
	return info, nil
}

// Announce writes where the demo listens to the file by which Find finds it. The returned function removes the file,
// unless another demo has written it since.
func Announce(info Info, getenv func(string) string) (withdraw func() error, err error) {
	name := runtimeFile(getenv)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("announce the demo: %w", err)
	}
	data, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("announce the demo: %w", err)
	}
	// Renamed into place, so that nobody reads half of it.
	part := name + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return nil, fmt.Errorf("announce the demo: %w", err)
	}
	if err := os.Rename(part, name); err != nil {
		return nil, fmt.Errorf("announce the demo: %w", err)
	}
	return func() error {
		if now, err := os.ReadFile(name); err != nil || string(now) != string(data) {
			return nil //nolint:nilerr // gone, or another demo's: nothing of ours to remove
		}
		return os.Remove(name)
	}, nil
}

// runtimeFile is in the user's runtime folder, or where that is not given in a folder of the user's among the
// temporary files.
func runtimeFile(getenv func(string) string) string {
	folder := getenv("XDG_RUNTIME_DIR")
	if folder == "" {
		folder = filepath.Join(os.TempDir(), "bookinfo-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(folder, "bookinfo-demo.json")
}
