package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	envoyroute "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
)

// clusterSet is what the file of clusters holds.
type clusterSet []*cluster.Cluster

// with returns the set and those of more that have other names.
func (s clusterSet) with(more clusterSet) clusterSet {
	out := slices.Clone(s)
	for _, c := range more {
		if !slices.ContainsFunc(s, func(o *cluster.Cluster) bool { return o.Name == c.Name }) {
			out = append(out, c)
		}
	}
	return out
}

// SetTables puts other tables in force and returns when Envoy acts on them. Clusters come before the routes that name
// them, and go after (make before break, as Envoy's documentation of xDS has it), so that no request falls between.
func (p *Proxy) SetTables(ctx context.Context, tables compile.Tables) error {
	p.setting.Lock()
	defer p.setting.Unlock()
	_, found, err := p.compile(tables)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	refused, err := p.refusals(ctx)
	if err != nil {
		return err
	}
	p.version++
	all := clusterSet(found.Clusters).with(p.clusters)
	if err := p.writeClusters(p.versionText(), all); err != nil {
		return err
	}
	if err := p.follow(ctx, refused, clustersStat); err != nil {
		return fmt.Errorf("clusters: %w", err)
	}
	if err := p.writeRest(p.versionText(), found); err != nil {
		return err
	}
	stats := []string{listenersStat}
	for name := range found.Routes {
		stats = append(stats, routesStat(name))
	}
	if err := p.follow(ctx, refused, stats...); err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	p.clusters = found.Clusters
	if len(all) == len(found.Clusters) {
		return nil
	}
	return p.writeClusters(p.versionText()+".1", found.Clusters)
}

func (p *Proxy) versionText() string { return strconv.Itoa(p.version) }

// writeAll writes the files that Envoy starts with.
func (p *Proxy) writeAll(found *bootstrap.Discovered) error {
	p.clusters = found.Clusters
	if err := p.writeClusters(p.versionText(), found.Clusters); err != nil {
		return err
	}
	return p.writeRest(p.versionText(), found)
}

func (p *Proxy) writeClusters(version string, clusters clusterSet) error {
	data, err := bootstrap.Response(version, clusters...)
	if err != nil {
		return err
	}
	return p.write(bootstrap.ClustersFile, data)
}

func (p *Proxy) writeRest(version string, found *bootstrap.Discovered) error {
	for name, routes := range found.Routes {
		data, err := bootstrap.Response[*envoyroute.RouteConfiguration](version, routes)
		if err != nil {
			return err
		}
		if err := p.write(bootstrap.RoutesFile(name), data); err != nil {
			return err
		}
	}
	data, err := bootstrap.Response(version, found.Listeners...)
	if err != nil {
		return err
	}
	return p.write(bootstrap.ListenersFile, data)
}

// write renames the file into place: that is what Envoy watches for.
func (p *Proxy) write(name string, data []byte) error {
	part := filepath.Join(p.folder, name+".part")
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(p.folder, name))
}

// Prefixes of the statistics of the three kinds of discovery.
const (
	clustersStat  = "cluster_manager.cds."
	listenersStat = "listener_manager.lds."
)

func routesStat(listener string) string { return "http." + listener + ".rds." + listener + "." }

// errRefused is told by Envoy in a line on standard error, which the log has got.
var errRefused = errors.New("envoy refuses the configuration")

// follow waits until Envoy has the current version in force, by each of the statistics.
func (p *Proxy) follow(ctx context.Context, refused int, stats ...string) error {
	return p.until(ctx, func() (bool, error) {
		now, err := p.stats(ctx)
		if err != nil {
			return false, err
		}
		if count(now, "update_rejected") > refused {
			return false, errRefused
		}
		for _, stat := range stats {
			if now[stat+"version_text"] != strconv.Quote(p.versionText()) {
				return false, nil
			}
		}
		return now["listener_manager.total_listeners_warming"] == "0", nil
	})
}

func (p *Proxy) refusals(ctx context.Context) (int, error) {
	now, err := p.stats(ctx)
	return count(now, "update_rejected"), err
}

func count(stats map[string]string, suffix string) (sum int) {
	for name, value := range stats {
		if strings.HasSuffix(name, suffix) {
			n, _ := strconv.Atoi(value) //nolint:errcheck // a counter
			sum += n
		}
	}
	return sum
}

// stats asks for the statistics of discovery, text by text.
func (p *Proxy) stats(ctx context.Context) (map[string]string, error) {
	page, err := p.ask(ctx, `/stats?filter=(cds|lds|rds.*)\.(version_text|update_rejected)$|total_listeners_warming$`)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(page)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		out[name] = value
	}
	return out, nil
}

// listening asks for the addresses of the listeners that are up.
func (p *Proxy) listening(ctx context.Context) (map[string]string, error) {
	page, err := p.ask(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		ListenerStatuses []struct {
			Name         string
			LocalAddress struct {
				SocketAddress struct {
					Address   string
					PortValue int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(page, &answer); err != nil {
		return nil, fmt.Errorf("envoy: admin page of listeners: %w", err)
	}
	out := make(map[string]string)
	for _, l := range answer.ListenerStatuses {
		address := l.LocalAddress.SocketAddress
		if address.PortValue > 0 {
			out[l.Name] = net.JoinHostPort(address.Address, strconv.Itoa(address.PortValue))
		}
	}
	return out, nil
}
