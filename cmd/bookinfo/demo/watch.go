package demo

import "example.com/bookinfo/internal/mesh/watch"

// startWatch keeps the mesh like the folder that the configuration names. What its files say is in force before the
// first request.
func (d *Demo) startWatch() error {
	if d.cfg.Watch == "" {
		return nil
	}
	folder := watch.New(d.mesh, d.cfg.Watch, namespace, func(line string) { d.progress("%s", line) })
	if err := folder.Look(); err != nil {
		return err
	}
	go func() {
		if err := folder.Run(d.life, watch.Interval); err != nil {
			d.fail(err)
		}
	}()
	return nil
}
