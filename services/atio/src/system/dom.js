// What the pages' scripts share. Text is written with textContent: what comes from events and people can't become markup.
export const byId = (id) => document.getElementById(id);
export const element = (tag, text, className) => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
