package incident

// Forget drops finished incidents that retention has deleted. A live one stays.
func (d *Desk) Forget(ids []string) {
	for _, id := range ids {
		if i := d.all[id]; i != nil && !i.State.Live() {
			d.forget(id)
			delete(d.lessons, id)
		}
	}
}

// Reword takes finished incidents as the store has them after a redaction. A
// live one stays as it is, and one that the desk does not hold stays away.
func (d *Desk) Reword(kept []Incident) {
	for _, i := range kept {
		if have := d.all[i.ID]; have != nil && !have.State.Live() && !i.State.Live() {
			d.put(i)
		}
	}
}
